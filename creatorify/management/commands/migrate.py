"""Django's `migrate`, one at a time on a database; it refuses a database that is too old for this version."""

import contextlib
import time
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Migrate
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

LOCK = 6_021_023  # the key of an advisory lock: any number that nothing else in the database uses
PAUSE_SECONDS = 0.2


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> None:
        with connections[options["database"]].cursor() as cursor:
            # In a loop, because the time-outs of the role would end a wait in the database.
            if not _try_lock(cursor):
                self.stderr.write("Another migrate is at work on this database: waiting for its end.")
                while not _try_lock(cursor):
                    time.sleep(PAUSE_SECONDS)
            try:
                _require_whole_history(connections[options["database"]])
                super().handle(*args, **options)
            finally:
                with contextlib.suppress(Error):  # If the connection is lost, the lock is released already.
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _require_whole_history(connection: BaseDatabaseWrapper) -> None:
    """Raises CommandError if only some of the migrations of version 0.1 were applied.

    Django takes a migration that replaces others for applied only if all of them were.
    """
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    applied = set(MigrationRecorder(connection).applied_migrations())
    for migration in (loader.disk_migrations or {}).values():
        replaced = set(migration.replaces)
        if applied & replaced and not replaced <= applied:
            lacking = ", ".join(".".join(key) for key in sorted(replaced - applied))
            raise CommandError(
                "This database was made by a version before 0.2, and not all migrations of that version were applied. "
                f"Run `manage.py migrate` of version 0.1.0 first, then this one. Lacking: {lacking}"
            )


def _try_lock(cursor: Any) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
    is_locked: bool = cursor.fetchone()[0]
    return is_locked
