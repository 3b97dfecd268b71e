"""The files that the examples of README.md read: the address of the service and the body of a project."""

import contextlib
import fcntl
from pathlib import Path

from creatorify.demo.account import write_private


class ExampleFiles:
    """Of several kept services on this machine, the first writes the files; when it ends, the next does.

    Use as a context manager.
    """

    def __init__(self, folder: Path, contents: dict[str, str]) -> None:
        self.are_ours = False
        self._folder, self._contents = folder, contents

    def __enter__(self) -> "ExampleFiles":
        self._lock = (self._folder / "kept").open("w")
        self.write_if_first()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def write_if_first(self) -> None:
        """Call now and then: the service that was first may have ended."""
        if self.are_ours:
            return
        with contextlib.suppress(BlockingIOError):  # Another service has the lock.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Released with the process, however that ends.
            for name, content in self._contents.items():
                write_private(self._folder / name, content)
            self.are_ours = True
