"""What a trial has measured, and whether that is good enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    test: str  # its number in the list of fault tests
    what: str
    bound: str
    measured: str
    passed: bool


def times(test: str, what: str, seconds: Sequence[float], *, at_most: float) -> Figure:
    """Of something that was done several times, each within a bound."""
    measured = f"{len(seconds)} times: median {median(seconds):.1f} s, longest {max(seconds):.1f} s"
    return Figure(test, what, f"≤ {at_most:g} s", measured, max(seconds) <= at_most)


def exactly(test: str, what: str, found: object, *, wanted: object) -> Figure:
    return Figure(test, what, str(wanted), str(found), found == wanted)
