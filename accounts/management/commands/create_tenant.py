from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import keys, prices
from accounts.models import ApiKey, Plan, Scope, Tenant, default_scopes

DEFAULT_PLAN = "Default"  # made, with the defaults of every limit, if it is not there


class Command(BaseCommand):
    help = "Make a tenant and its first API key; prints the key, once. --further-key: another key of a tenant there is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the tenant's name")
        parser.add_argument(
            "--further-key", action="store_true", help="the tenant is there already, and gets one more key"
        )
        parser.add_argument("--plan", help="name of its plan, made in the admin; without it the plan Default")
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
        tenant = _found(options) if options["further_key"] else _made(options)
        lacking = [] if prices.is_free(tenant.plan) else prices.missing(tenant.plan.prices)
        if lacking:
            self.stderr.write(
                f"The plan {tenant.plan} has no price for {', '.join(lacking)}: such renders are refused."
            )
        _, plain = keys.make(tenant, name=options["key_name"], mode=options["mode"], scopes=options["scopes"])
        self.stdout.write(plain)


def _found(options: dict[str, Any]) -> Tenant:
    tenant = Tenant.objects.filter(name=options["name"]).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {options['name']!r}; without --further-key it is made.")
    if options["plan"] is not None:
        raise CommandError("--plan is for a new tenant; the admin changes the plan of one that is there.")
    return tenant


def _made(options: dict[str, Any]) -> Tenant:
    name = options["name"].strip()
    if Tenant.objects.filter(name=name).exists():
        raise CommandError(f"There is a tenant {name!r} already. For one more key of it add --further-key.")
    if options["plan"] is None:
        plan, _ = Plan.objects.get_or_create(name=DEFAULT_PLAN)
    elif (found := Plan.objects.filter(name=options["plan"]).first()) is not None:
        plan = found
    else:
        plans = ", ".join(Plan.objects.order_by("name").values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no plan {options['plan']!r}; make it in the admin. There are: {plans}.")
    tenant = Tenant(name=name, plan=plan)
    try:
        tenant.full_clean()
    except ValidationError as error:
        raise CommandError(f"The name {name!r} cannot be used: {' '.join(error.messages)}") from None
    tenant.save()
    return tenant
