"""Looks at the renders several times a second: what must never be, not even for a moment."""

import threading
from typing import Self

import psycopg

from creatorify.operations import invariants
from tests.chaos.database import CrashingDatabase

PAUSE_SECONDS = 0.3
TERMINAL = ("finished", "failed", "canceled")
# These two give the dead and the lost some seconds, which a crash of the database prolongs: they count in the end.
IN_THE_END = ("lease_alive", "ticket_there")


class Watcher:
    def __init__(self, database: CrashingDatabase) -> None:
        self.violations: list[str] = []
        self._database = database
        self._states: dict[object, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                with self._database.connect() as connection:
                    while not self._stop.wait(PAUSE_SECONDS):
                        self._look(connection)
                        connection.rollback()
            except psycopg.OperationalError:
                self._stop.wait(PAUSE_SECONDS)

    def _look(self, connection: psycopg.Connection) -> None:
        for render, state in connection.execute("SELECT id, state FROM render_render").fetchall():
            before = self._states.get(render)
            if before in TERMINAL and state != before:
                self.violations.append(f"{render} was {before} and is {state}")
            self._states[render] = state
        for invariant in invariants.INVARIANTS:
            if invariant.name not in IN_THE_END:
                broken = connection.execute(invariant.sql, {"patience": invariants.patience()}).fetchall()
                self.violations += [f"{invariant.name}: {row[0]}" for row in broken]
