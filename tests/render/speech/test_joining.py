"""Words and pauses as one sound."""

from collections.abc import Iterator

import numpy as np
import pytest

from render.speech.base import SAMPLE_RATE
from render.speech.joining import join_passages
from render.speech.passages import Pause, Spoken

WORD = np.full(1000, 9000, "<i2")


def spoken(text: str) -> Iterator[bytes]:
    """Of "10a20": ten samples of silence, a word, and twenty of silence; in blocks of their own if it ends in 0."""
    before, _, after = text.partition("a")
    parts = [np.full(int(before or 0), 3, "<i2"), *([WORD] if "a" in text else []), np.full(int(after or 0), -3, "<i2")]
    yield from (part.tobytes() for part in parts) if text.endswith("0") else [np.concatenate(parts).tobytes()]


def gaps(*passages: Pause | Spoken) -> list[int]:
    """Samples of silence before, between and after the words."""
    sound = np.frombuffer(b"".join(join_passages(passages, spoken)), "<i2")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.abs(sound) > 100, [0]])))
    assert np.all(edges[1::2] - edges[::2] == len(WORD))
    return [int(gap) for gap in np.diff(np.concatenate([[0], edges, [len(sound)]]))[::2]]


def pause(samples: int) -> Pause:
    return Pause(samples / SAMPLE_RATE)


@pytest.mark.parametrize("last", [50, 51])
def test_without_a_pause_nothing_is_changed(last) -> None:
    assert gaps(Spoken(f"40a{last}")) == [40, last]
    assert gaps(Spoken("40a50"), Spoken(f"60a{last}")) == [40, 110, last]


@pytest.mark.parametrize(
    ("own", "after"), [(0, 0), (50, 60), (51, 61), (500, 700), (4000, 10), (10, 4001), (9000, 9001)]
)
@pytest.mark.parametrize("asked", [100, 1000, 48_000])
def test_a_pause_has_its_length_whatever_silence_is_the_engine_s_own(own, after, asked) -> None:
    assert gaps(Spoken(f"7a{own}"), pause(asked), Spoken(f"{after}a8")) == [7, asked, 8]


def test_pauses_add_up_and_stand_at_the_ends_too() -> None:
    assert gaps(pause(500), Spoken("10a20"), pause(300), pause(400), Spoken("30a30"), pause(600)) == [500, 700, 600]


def test_an_engine_that_speaks_nothing_leaves_the_pauses() -> None:
    sound = b"".join(join_passages([Spoken("5"), pause(500), Spoken("5"), pause(500)], spoken))

    assert len(sound) // 2 == 1000


def test_long_silence_of_an_engine_is_not_held_back_for_ever() -> None:
    def silent(_: str) -> Iterator[bytes]:
        return (bytes(2 * SAMPLE_RATE) for _ in range(60))

    assert max(len(block) for block in join_passages([Spoken("a"), pause(10), Spoken("b")], silent)) < 24 * SAMPLE_RATE
    assert sum(len(block) for block in join_passages([Spoken("a")], silent)) == 60 * 2 * SAMPLE_RATE
