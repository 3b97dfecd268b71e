"""Kills a process between two statements that it sends to the database, wherever that is: no code knows of it."""

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from django.db import connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper


class _Failpoint:
    """Counts statements, and the moments before and after each commit; at the chosen one the process dies."""

    def __init__(self, number: int) -> None:
        self._left = number

    def pass_by(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_statement(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.pass_by()
        return execute(*arguments)

    def around_commit(self, commit: Callable[[Any], None]) -> Callable[[Any], None]:
        def watched(wrapper: Any) -> None:
            self.pass_by()
            commit(wrapper)
            self.pass_by()

        return watched


def dies_at(number: int, step: Callable[[], object]) -> bool:
    """Do a step in a child process that dies at its failpoint of that number, from 1; False when there are not so many.

    Raises AssertionError when the step raises something.
    """
    connections.close_all()  # The child must not speak on the parent's.
    child = os.fork()
    if child == 0:
        status = 1
        try:
            failpoint = _Failpoint(number)
            DatabaseWrapper._commit = failpoint.around_commit(DatabaseWrapper._commit)  # type: ignore[method-assign]
            with connection.execute_wrapper(failpoint.before_statement):
                step()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)  # Nothing of pytest's may run here.
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(ended) == 0, "the step itself failed"
    return False
