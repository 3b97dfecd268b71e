"""Checks the files of the model every few seconds, in a thread of its own.

On a network file system that hangs, a check may never end. `/health` then has the result of the last one.
"""

import logging
import threading
import time
from typing import Protocol

logger = logging.getLogger(__name__)

CHECK_SECONDS = 3.0  # from the end of one check to the start of the next
FIRST_CHECK_SECONDS = 2.0  # longest wait for the result of the first check


class Model(Protocol):
    def unloadable(self) -> dict[str, str]: ...


class FileWatch:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._unloadable: dict[str, str] = {}
        self._has_checked = threading.Event()
        self._first = threading.Lock()
        self._thread: threading.Thread | None = None

    def unloadable(self) -> dict[str, str]:
        """The last result of `LoadedModel.unloadable`. The first call starts the thread and waits for a result."""
        with self._first:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_checking, name="check-files", daemon=True)
                self._thread.start()
                self._has_checked.wait(FIRST_CHECK_SECONDS)
        return self._unloadable

    def check(self) -> None:
        """Check now, in the caller's thread. May block."""
        self._unloadable = self._model.unloadable()
        self._has_checked.set()

    def _keep_checking(self) -> None:
        while True:
            try:
                self.check()
            except Exception:
                logger.exception("The files of the model could not be checked")
            self._has_checked.set()
            time.sleep(CHECK_SECONDS)
