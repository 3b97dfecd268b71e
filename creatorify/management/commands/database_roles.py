"""The SQL of `creatorify.config.database_roles` for an administrator to run."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from creatorify.config import database_roles

SCHEMA = ROLE = "creatorify"


class Command(BaseCommand):
    help = (
        "Print the SQL that creates the service's role and schema (app), or the role of one GPU node (gpu), with a new "
        "password. Run the SQL as the database's administrator, in Supabase in the SQL editor."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        kinds = parser.add_subparsers(dest="kind", required=True)
        for name in ("app", "gpu"):
            kind = kinds.add_parser(name)
            kind.add_argument("--schema", default=SCHEMA, help=f"default: {SCHEMA}")
            kind.add_argument("--role", default=ROLE, help=f"of the service; default: {ROLE}")
            if name == "gpu":
                kind.add_argument("node", help="the node's NODE_NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        password = database_roles.new_password()
        if options["kind"] == "app":
            login = options["role"]
            statements = database_roles.app_statements(role=login, password=password, schema=options["schema"])
        else:
            login = database_roles.login_role(options["node"])
            statements = list(
                database_roles.gpu_statements(
                    node=options["node"], password=password, app_role=options["role"], schema=options["schema"]
                )
            )
        for statement in statements:
            self.stdout.write(f"{statement.as_string()};")
        self.stdout.write(f"-- DATABASE_URL=postgresql://{login}:{password}@HOST:PORT/DATABASE")
