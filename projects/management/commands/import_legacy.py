"""`manage.py import_legacy`: imports the projects of the older service."""

from argparse import ArgumentParser
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError

from accounts.models import Tenant
from projects.legacy.importer import import_projects, read_legacy

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Import the projects of the older service for a tenant, with their ids. It may be run again at any time, "
        "and adds only new ones."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", help="the tenant's name")
        parser.add_argument("--database-url", required=True, help="of the older service: postgresql://...")
        parser.add_argument("--table", default="projects", help="with its schema, if it is not on the search path")
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(name=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']}; `create_tenant` makes one.")
        try:
            rows = read_legacy(options["database_url"], options["table"])
            outcome = import_projects(rows, tenant, dry_run=options["dry_run"])
        except psycopg.Error as error:
            raise CommandError(f"The older database cannot be read: {error}") from error
        for line in outcome.refused[:SHOWN]:
            self.stderr.write(f"refused: {line}")
        done = "would be imported" if options["dry_run"] else "imported"
        self.stdout.write(f"{outcome.imported} {done}, {outcome.known} known, {len(outcome.refused)} refused")
