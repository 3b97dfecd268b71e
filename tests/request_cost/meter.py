"""Counts the hops, the files and the statements of whatever runs while it is measured."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from django.db import connection

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("accounts", "creatorify", "projects", "render", "infinitetalk")


@dataclass
class Cost:
    """hops: calls from one of our files into another, each as "caller -> file:function". A call through a library
    counts when the library was called by the other file. statements: what Postgres receives but BEGIN and COMMIT.
    """

    hops: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    statements: list[str] = field(default_factory=list)


@contextmanager
def measured() -> Iterator[Cost]:
    """Count what this thread does until the end of the block."""
    cost = Cost()
    names: dict[str, str | None] = {}

    def own_file(frame: FrameType) -> str | None:
        """The file of the frame below our folder; None for a library's, a test's or a migration's."""
        path = frame.f_code.co_filename
        if path not in names:
            names[path] = _own_file(path)
        return names[path]

    def count_call(frame: FrameType, event: str, _: Any) -> None:
        callee = own_file(frame) if event == "call" else None
        if callee is None:
            return
        cost.files.add(callee)
        caller = frame.f_back
        direct = caller and own_file(caller)
        while caller is not None and own_file(caller) is None:
            caller = caller.f_back
        origin = own_file(caller) if caller is not None else None
        if origin != callee:
            cost.hops.append(f"{'' if direct else '('}{origin} -> {callee}:{frame.f_code.co_qualname}")

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


def _own_file(path: str) -> str | None:
    try:
        relative = Path(path).relative_to(ROOT)
    except ValueError:
        return None
    return str(relative) if relative.parts[0] in PACKAGES else None
