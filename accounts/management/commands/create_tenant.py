"""`manage.py create_tenant NAME`."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import prices
from accounts.api_keys import keys
from accounts.models import ApiKey, Plan, Scope, Tenant, default_scopes

DEFAULT_PLAN = "Default"


class Command(BaseCommand):
    help = "Make a tenant and its first API key, or one more key of an existing tenant. Prints the key, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the tenant's name")
        parser.add_argument(
            "--plan", default=DEFAULT_PLAN, help="name of its plan; a missing plan is made, with default limits"
        )
        parser.add_argument("--key-name", default="default", help="what the key is for")
        default = " ".join(default_scopes())
        parser.add_argument(
            "--scope",
            dest="scopes",
            action="append",
            choices=Scope.values,
            help=f"what the key may do; repeat the option for more. Default: {default}",
        )
        parser.add_argument("--mode", choices=ApiKey.Mode.values, default=ApiKey.Mode.LIVE)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self._tenant(options["name"].strip(), options["plan"])
        missing = prices.missing(tenant.plan)
        if missing:
            self.stderr.write(
                f"The plan {tenant.plan} has no price for {', '.join(missing)}: such renders are refused."
            )
        _, plain = keys.issue(tenant, name=options["key_name"], mode=options["mode"], scopes=options["scopes"])
        self.stdout.write(plain)

    def _tenant(self, name: str, plan_name: str) -> Tenant:
        """Return the tenant of this name, a new one if it does not exist.

        Reports the two cases in which a mistyped name has an effect: an existing tenant, and a new plan.
        """
        tenant = Tenant.objects.filter(name=name).first()
        if tenant is not None:
            self.stderr.write(f"The tenant {name} exists already: this is one more key of it.")
            return tenant
        plan, is_new = Plan.objects.get_or_create(name=plan_name)
        if is_new and plan_name != DEFAULT_PLAN:
            self.stderr.write(f"There was no plan {plan_name}: it is made now, with default limits.")
        tenant = Tenant(name=name, plan=plan)
        try:
            tenant.full_clean()
        except ValidationError as error:
            raise CommandError(f"The name {name!r} cannot be used: {' '.join(error.messages)}") from None
        tenant.save()
        return tenant
