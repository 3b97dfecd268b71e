#!/usr/bin/env python
import os
import signal
import sys

from django.conf import settings
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
    read_settings()
    execute_from_command_line(sys.argv)


def read_settings() -> None:
    """Ends with a message instead of a traceback where it is not a setting that is wrong, but this machine."""
    # They start the embedded database: ended meanwhile, they must come to stop it.
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        from creatorify.embedded_postgres import CannotStart

        try:
            settings.INSTALLED_APPS  # noqa: B018
        except CannotStart as error:
            sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The service cannot start on this machine: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if sys.argv[1:2] != ["demo"]:  # It goes on with a handler of its own, and has the database to stop until then.
        signal.signal(signal.SIGTERM, former)


if __name__ == "__main__":
    main()
