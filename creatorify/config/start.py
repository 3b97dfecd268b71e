"""The start of every process: a fault of the settings, machine or embedded database ends it with one sentence."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from creatorify.config.errors import CannotStart


@contextlib.contextmanager
def faults_end_the_process() -> Iterator[None]:
    """Use around all that a process does. Exits without a traceback: 1 and a sentence, or 130 after Ctrl-C."""
    try:
        yield
    except CannotStart as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def read_settings() -> None:
    """Evaluate the settings; a fault in them, or a folder that cannot be created, ends the process with a sentence."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  # The first access evaluates all settings.
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The service cannot start on this machine: {error}")


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Use around the imports of a whole process. What they make stays until its end: to look for garbage among it takes
    a third of their time, and a forked process would get a copy of all that it looks at.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def start_database() -> str:
    """Start the embedded database if it is the one in use. Returns the URL of the database, for other programs.

    Processes that fork call this first: their children then use the server that their parent keeps running. Raises
    CannotStart.
    """
    if settings.EMBEDDED_POSTGRES is None:
        return str(settings.DATABASE_URL)
    # Not at the top: it loads a package that only the embedded database needs.
    from creatorify.config.embedded_backend.base import start_server

    start_server(connection)
    server = connection.settings_dict
    return f"postgresql://{server['USER']}@{quote(server['HOST'], safe='')}:{server['PORT']}/{server['NAME']}"
