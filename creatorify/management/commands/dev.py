"""`make dev`; the work is in `creatorify.demo.development`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from creatorify.demo import development
from creatorify.web.port import port_number


class Command(BaseCommand):
    help = (
        "Run web server, queue and reaper for a developer: with DEBUG, logs on the terminal, and restarts on changes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=port_number, default=8000, help="of the web server; another one if it is taken"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        development.run(port=options["port"], output=self.stdout)
