"""For pg_dump and other programs that need the address of the service's database."""

from typing import Any

from django.core.management.base import BaseCommand

from creatorify.config.start import start_database


class Command(BaseCommand):
    help = "Print the URL of the database, with its password. The embedded one is started if it does not run."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(start_database())
