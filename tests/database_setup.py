"""What is slow in a test's database, done once: the migrations, and what Django's `flush` does after each test that
commits.
"""

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.test import TransactionTestCase
from psycopg import sql

from creatorify.config.start import start_database

TEMPLATE = "tests_template_"
LOCK = 6_021_024  # any number that nothing else in the server uses for an advisory lock
# What `migrate` writes itself. Tests read it and hardly ever change it.
TRIES = 5
OF_MIGRATE = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")


def use_migrated_template() -> None:
    """Have the test databases copied from one that is migrated already. It stays in the server until a migration
    changes; test processes that start together wait for the one that makes it.
    """
    name = TEMPLATE + _digest_of_migrations()
    with _server() as server:
        server.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        made = [
            row[0]
            for row in server.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [TEMPLATE])
        ]
        if name not in made:
            for old in made:  # also one whose migrations were broken off
                with suppress(psycopg.errors.ObjectInUse):
                    server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(old)))
            _make(server, name)
    connection.settings_dict["TEST"]["TEMPLATE"] = name


def _make(server: psycopg.Connection, name: str) -> None:
    half_made = f"{name}_half_made"
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(half_made)))
    real = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = half_made
    try:
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = real
    server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (half_made, name))))


def _digest_of_migrations() -> str:
    digest = hashlib.sha256()
    for _, migration in sorted(MigrationLoader(None).disk_migrations.items()):
        digest.update(inspect.getsource(inspect.getmodule(type(migration))).encode())
    return digest.hexdigest()[:16]


@contextmanager
def _server() -> Iterator[psycopg.Connection]:
    start_database()
    of = connection.settings_dict
    with psycopg.connect(
        host=of["HOST"], port=of["PORT"], user=of["USER"], password=of["PASSWORD"], dbname="postgres", autocommit=True
    ) as server:
        yield server


def do_not_wait_for_the_disk() -> None:
    """Of this database only: a test database need not survive a crash of the machine."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(
                sql.Identifier(connection.settings_dict["NAME"])
            )
        )
    connection.close()  # The next session begins with it.


class Emptying:
    """In place of Django's `flush`, which truncates every table and then writes anew what `migrate` had written."""

    def __init__(self) -> None:
        self._flush = TransactionTestCase._fixture_teardown
        self._tables = sorted(set(connection.introspection.table_names()) - {"django_migrations", *OF_MIGRATE})
        self._of_migrate = self._versions()

    def after(self, test: TransactionTestCase) -> None:
        if self._versions() != self._of_migrate:
            self._flush(test)
            self._of_migrate = self._versions()
        else:
            self.empty()

    def empty(self) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                self._empty()
                return
            except OperationalError as error:
                # A service that still runs took the same rows in another order.
                if not tries_left or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                    raise

    def _empty(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in self._tables)
            )
            if filled := [name for [name] in cursor.fetchall()]:
                # Without the checks of foreign keys: all that could refer to these rows goes, too.
                deletes = "; ".join(f'DELETE FROM "{name}"' for name in filled)
                cursor.execute(f"SET LOCAL session_replication_role = replica; {deletes}")

    def _versions(self) -> list[tuple]:
        """Other ones after any change of what `migrate` wrote: a row that is written gets a higher xmin."""
        with connection.cursor() as cursor:
            cursor.execute(
                " UNION ALL ".join(
                    f"SELECT '{name}', count(*), max(xmin::text::bigint) FROM {name}" for name in OF_MIGRATE
                )
            )
            return cursor.fetchall()
