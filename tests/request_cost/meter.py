"""Counts the hops, the files and the statements of whatever runs while it is measured."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any

from django.db import connection

from tests import ROOT

PACKAGES = ("accounts", "creatorify", "projects", "render", "infinitetalk")


@dataclass
class Cost:
    """What was counted.

    hops: a hop is a call from one of our files into another one, itself or through a library, as a pair of both names.
    The same pair counts once, since it is the same step for a reader. To read a property is no call.
    statements: all that Postgres receives but BEGIN and COMMIT.
    """

    hops: dict[tuple[str, str], str] = field(default_factory=dict)  # With the function that was called first.
    calls: int = 0  # The same, each call counted.
    statements: list[str] = field(default_factory=list)

    @property
    def files(self) -> set[str]:
        return {name for pair in self.hops for name in pair}


@contextmanager
def measured(below: str | None = None) -> Iterator[Cost]:
    """Count what this thread does until the end of the block.

    below: only what a function of this file calls, directly or not. The statements are counted in any case.
    """
    cost = Cost()

    def count_call(frame: FrameType, event: str, _: Any) -> None:
        callee = _own_file(frame) if event == "call" else None
        if callee is None or _is_property(frame):
            return
        callers = list(_own_callers(frame))
        if callers and callers[0] != callee and (below is None or below in callers):
            cost.calls += 1
            cost.hops.setdefault((callers[0], callee), frame.f_code.co_qualname)

    def count_statement(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        cost.statements.append(sql)
        return execute(sql, params, many, context)

    # Savepoints are seen as well: Django sends them through a cursor.
    with connection.execute_wrapper(count_statement):
        sys.setprofile(count_call)
        try:
            yield cost
        finally:
            sys.setprofile(None)


def _own_callers(frame: FrameType) -> Iterator[str]:
    """The files of ours on the stack, from the caller outwards."""
    caller = frame.f_back
    while caller is not None:
        if (name := _own_file(caller)) is not None:
            yield name
        caller = caller.f_back


def _own_file(frame: FrameType) -> str | None:
    """The frame's file below our folder; None for that of a library or a test."""
    path = frame.f_code.co_filename
    if not path.startswith(f"{ROOT}/"):
        return None
    relative = path.removeprefix(f"{ROOT}/")
    return relative if relative.startswith(tuple(f"{package}/" for package in PACKAGES)) else None


def _is_property(frame: FrameType) -> bool:
    owner, _, name = frame.f_code.co_qualname.rpartition(".")
    attribute = getattr(frame.f_globals.get(owner), "__dict__", {}).get(name)
    return isinstance(attribute, property | cached_property)
