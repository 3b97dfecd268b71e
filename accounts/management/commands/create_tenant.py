from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from accounts import keys
from accounts.models import ApiKey, Plan, Tenant


class Command(BaseCommand):
    help = "Make a tenant (or find it by name) and a new API key for it; prints the key, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the tenant's name")
        parser.add_argument("--plan", default="Default", help="name of its plan; made with the defaults if missing")
        parser.add_argument("--key-name", default="default", help="what the key is for")
        parser.add_argument("--mode", choices=ApiKey.Mode.values, default=ApiKey.Mode.LIVE)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        plan, _ = Plan.objects.get_or_create(name=options["plan"])
        tenant, _ = Tenant.objects.get_or_create(name=options["name"], defaults={"plan": plan})
        _, plain = keys.make(tenant, name=options["key_name"], mode=options["mode"])
        self.stdout.write(plain)
