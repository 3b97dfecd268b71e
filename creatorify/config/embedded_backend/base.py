"""Django's Postgres backend, for a server that is started when it is needed. Django looks for this module name.

`manage.py help` and other commands that open no connection so start no server. Processes that fork (the web server, the
queue) start it before they do, see `creatorify.config.start`: the children then use the server of their parent.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base
from django.db.backends.postgresql.client import DatabaseClient

from creatorify.config import database_url, embedded_postgres


class _Client(DatabaseClient):
    """`manage.py dbshell` runs psql with the settings of the connection, and opens none itself."""

    def runshell(self, parameters: Iterable[str]) -> None:
        start_server(self.connection)
        super().runshell(parameters)


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = _Client

    def get_connection_params(self) -> dict[str, Any]:
        """Called before every connection, and once for a pool. Raises CannotStart."""
        start_server(self)
        return super().get_connection_params()


def start_server(connection: BaseDatabaseWrapper) -> None:
    """Start the embedded server, or find it running, and put its address into the connection's settings.

    Does nothing if the address is there already: a server that has stopped since then is not started again, the
    connection fails as with any other database. Raises CannotStart.
    """
    if not connection.settings_dict["HOST"]:
        assert settings.EMBEDDED_POSTGRES is not None  # Only then is this backend in use.
        address = database_url.parse(embedded_postgres.start_or_find(settings.EMBEDDED_POSTGRES))
        for name in ("USER", "PORT", "HOST"):  # HOST last: other threads share these settings, and look at it.
            connection.settings_dict[name] = address[name]
