#!/usr/bin/env python
"""Django's command line: `python manage.py help` lists the commands."""

import os
import sys

import django
from django.core.management import execute_from_command_line
from django.db import OperationalError, connection

from creatorify.config.start import faults_end_the_process, loading, read_settings, start_database

# These fork, or run for long beside others that do: they start the embedded database first. All other commands start it
# when they open a connection.
SERVICES = ("qcluster", "reaper", "gpu_node")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
    with faults_end_the_process():
        read_settings()
        if sys.argv[1:2] and sys.argv[1] in SERVICES:
            start_database()
        with loading():
            django.setup()
        try:
            execute_from_command_line(sys.argv)
        except OperationalError as error:
            if connection.connection is not None:
                raise
            sys.exit(f"The database that DATABASE_URL names cannot be reached: {str(error).strip()}")


if __name__ == "__main__":
    main()
