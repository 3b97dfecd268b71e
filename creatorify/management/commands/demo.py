"""`make demo`; the work is in `creatorify.demo.demonstration`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from creatorify.demo.demonstration import Demonstration
from creatorify.web.port import port_number


class Command(BaseCommand):
    help = "Start everything, make a talking video from a portrait and a voice over HTTP, and print where it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--portrait", type=Path, help="your own picture or video instead of the one shipped")
        parser.add_argument("--speech", type=Path, help="your own voice recording instead of a spoken sentence")
        parser.add_argument(
            "--port", type=port_number, default=8000, help="of the web server; another one if it is taken"
        )
        parser.add_argument("--keep", action="store_true", help="leave the service running until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        Demonstration(
            output=self.stdout,
            errors=self.stderr,
            portrait=options["portrait"],
            speech=options["speech"],
            port=options["port"],
            keep=options["keep"],
        ).run()
