from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from accounts import keys, prices
from accounts.models import ApiKey, Plan, Scope, Tenant, default_scopes


class Command(BaseCommand):
    help = "Make a tenant (or find it by name) and a new API key for it; prints the key, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the tenant's name")
        parser.add_argument("--plan", default="Default", help="name of its plan; made with the defaults if missing")
        parser.add_argument("--key-name", default="default", help="what the key is for")
        usual = " ".join(default_scopes())
        parser.add_argument(
            "--scope",
            dest="scopes",
            action="append",
            choices=Scope.values,
            help=f"what the key may do; to be given for each. Default: {usual}",
        )
        parser.add_argument("--mode", choices=ApiKey.Mode.values, default=ApiKey.Mode.LIVE)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        plan, _ = Plan.objects.get_or_create(name=options["plan"])
        tenant, _ = Tenant.objects.get_or_create(name=options["name"], defaults={"plan": plan})
        lacking = [] if prices.is_free(tenant.plan) else prices.missing(tenant.plan.prices)
        if lacking:
            self.stderr.write(
                f"The plan {tenant.plan} has no price for {', '.join(lacking)}: such renders are refused."
            )
        _, plain = keys.make(tenant, name=options["key_name"], mode=options["mode"], scopes=options["scopes"])
        self.stdout.write(plain)
