"""What one process does while another one's transaction is open. For tests with `django_db(transaction=True)`."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection, models

HANGS_SECONDS = 20  # Only a lock that nobody gives back takes as long.


@contextmanager
def another_transaction() -> Iterator[psycopg.Connection]:
    """On a connection of its own; what it has not committed is rolled back."""
    database = connection.settings_dict
    with psycopg.connect(
        host=database["HOST"], port=database["PORT"], user=database["USER"], dbname=database["NAME"]
    ) as other:
        other.execute(f"SET lock_timeout = '{HANGS_SECONDS}s'")
        other.commit()
        try:
            yield other
        finally:
            other.rollback()


@contextmanager
def never_waiting() -> Iterator[None]:
    """Who would wait for a lock gets an error instead."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '300ms'")
    try:
        yield
    finally:
        if not connection.in_atomic_block:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")


def lock(other: psycopg.Connection, model: type[models.Model], *, how: str = "NO KEY UPDATE") -> None:
    """All rows of a table, until the other transaction ends. how: `KEY SHARE` is what an insert that refers to them
    takes.
    """
    other.execute(f'SELECT 1 FROM "{model._meta.db_table}" FOR {how}')


def is_free(other: psycopg.Connection, row: models.Model) -> bool:
    """Whether the other transaction can lock the row at once."""
    try:
        with other.transaction():
            other.execute(
                f'SELECT 1 FROM "{row._meta.db_table}" WHERE "{row._meta.pk.column}" = %s FOR NO KEY UPDATE NOWAIT',
                [row.pk],
            )
    except psycopg.errors.LockNotAvailable:
        return False
    return True


@contextmanager
def waiting_for(other: psycopg.Connection, act: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Begins `act` in a thread, and goes on when it waits for the other transaction, or has ended."""

    def begin() -> Any:
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(begin)
        deadline = time.monotonic() + HANGS_SECONDS
        with connection.cursor() as cursor:
            while not future.done() and time.monotonic() < deadline:
                cursor.execute("SELECT pg_stat_clear_snapshot()")  # Within a transaction it would stay what it was.
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))",
                    [other.info.backend_pid],
                )
                if cursor.fetchone()[0]:
                    break
                time.sleep(0.01)
        try:
            yield future
        finally:
            other.rollback()  # Else a failed assertion would wait for the thread, and that for us.


def meanwhile(act: Callable[[], Any], change: str, *values: object) -> Any:
    """What `act` returns or raises when another transaction has made the change before it, and commits after it came.

    It must have waited: it would else have gone by what was there before.
    """
    with another_transaction() as other:
        other.execute(change, values)
        with waiting_for(other, act) as future:
            waited = not future.done()
            other.commit()
            result = future.result(HANGS_SECONDS)
    assert waited, "It did not wait for the other transaction"
    return result
