"""Django's `migrate`, of which two on one database wait for each other."""

import contextlib
import time
from typing import Any

from django.core.management.commands.migrate import Command as Migrate
from django.db import Error, connections

LOCK = 6_021_023  # any number that nothing else in the database uses for an advisory lock
PAUSE_SECONDS = 0.2


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> None:
        with connections[options["database"]].cursor() as cursor:
            # Tried again and again: a wait in the database would be ended by the time-outs of its role.
            if not _is_taken(cursor):
                self.stderr.write("Another migrate is at work on this database: waiting for its end.")
                while not _is_taken(cursor):
                    time.sleep(PAUSE_SECONDS)
            try:
                super().handle(*args, **options)
            finally:
                with contextlib.suppress(Error):  # The session is gone, and the lock with it.
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _is_taken(cursor: Any) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
    taken: bool = cursor.fetchone()[0]
    return taken
