"""A thread that renews a claim for as long as a worker works on it: on a render, or on the check of an upload."""

import threading
from abc import ABC, abstractmethod
from typing import Self

from django.db import connection


class ClaimThread(ABC):
    """The thread runs from `with` to the end of its block. It has a database connection of its own."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @abstractmethod
    def _keep(self) -> None:
        """Renew the claim until `_stop` is set or the claim is lost."""

    def _run(self) -> None:
        try:
            self._keep()
        finally:
            connection.close()
