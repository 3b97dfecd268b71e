"""Looks at the files of the model every few seconds, in a thread of its own.

Where they lie on a network file system that hangs, a look may never end. Who asks gets the result of the last one.
"""

import logging
import threading
import time
from typing import Protocol

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0  # from the end of one look to the next
FIRST_LOOK_SECONDS = 2.0  # that is waited for the first one


class Model(Protocol):
    def unloadable(self) -> dict[str, str]: ...


class FileWatch:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._found: dict[str, str] = {}
        self._has_looked = threading.Event()
        self._first = threading.Lock()
        self._thread: threading.Thread | None = None

    def unloadable(self) -> dict[str, str]:
        """As `WarmModel.unloadable` said last. The first call begins to look, and waits a little for the result."""
        with self._first:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_looking, name="look-at-files", daemon=True)
                self._thread.start()
                self._has_looked.wait(FIRST_LOOK_SECONDS)
        return self._found

    def look(self) -> None:
        """At once, in the caller's thread. May block."""
        self._found = self._model.unloadable()
        self._has_looked.set()

    def _keep_looking(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                logger.exception("The files of the model could not be looked at")
            self._has_looked.set()
            time.sleep(LOOK_SECONDS)
