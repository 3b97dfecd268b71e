"""The start of every process: what is wrong with the settings or with this machine is a sentence and no traceback."""

import signal
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def read_settings(*, keep_handler: bool = False) -> None:
    """keep_handler: leave SIGTERM to an orderly end, for a command that sets a handler of its own.

    The first look at the settings starts the embedded database: ended meanwhile, a process must come to stop it.
    """
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        from creatorify.config.embedded_postgres import CannotStart

        try:
            settings.INSTALLED_APPS  # noqa: B018
        except (CannotStart, ImproperlyConfigured) as error:
            sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The service cannot start on this machine: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if not keep_handler:
        signal.signal(signal.SIGTERM, former)
