"""For pg_dump and other programs that need the address of the service's database."""

import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from creatorify.config.start import start_database
from creatorify.demo.preparation import exit_on_signals


class Command(BaseCommand):
    help = "Print the URL of the database, with its password. The embedded one is started if it does not run."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--keep-running",
            action="store_true",
            help="do not exit before Ctrl-C or SIGTERM: the embedded database stops with the last process that uses it",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        exit_on_signals(lambda: 0)
        self.stdout.write(start_database())
        self.stdout.flush()
        if options["keep_running"]:
            threading.Event().wait()
