#!/usr/bin/env python
import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError, connection

from creatorify.config.start import read_settings


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
    read_settings(keep_handler=sys.argv[1:2] == ["demo"])
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        if connection.connection is not None:
            raise
        sys.exit(f"The database that DATABASE_URL names cannot be reached: {str(error).strip()}")


if __name__ == "__main__":
    main()
