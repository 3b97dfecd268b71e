"""DATABASE_URL as an entry of Django's DATABASES."""

import re
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured
from environ import Env

# The embedded server's address is known when it has started: `embedded_backend` adds host, port and user then.
EMBEDDED: dict[str, Any] = {
    "ENGINE": "creatorify.config.embedded_backend",
    "NAME": "creatorify",
    "HOST": "",
    "PORT": "",
    "USER": "",
    "PASSWORD": "",
}


def parse(url: str) -> dict[str, Any]:
    """Raises ImproperlyConfigured if it is not the URL of a Postgres database. The text never repeats the URL, which
    contains a password.
    """
    try:
        entry: dict[str, Any] = Env.db_url_config(url)
    except ValueError:
        entry = {}
    if not re.match("(postgres|postgresql|psql|pgsql)://", url) or not entry.get("NAME"):
        raise ImproperlyConfigured(
            "The environment variable DATABASE_URL must be the address of a Postgres database: "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters of the password percent-encoded."
        )
    return {**entry, "HOST": unquote(entry["HOST"])}  # The folder of a unix socket is percent-encoded in the URL.
