"""The only module that writes usage: hold, set the price, settle, release.

Quota is one table and one sum. A hold counts until it is settled or released, so there is no counter to drift, and the
guard `billed_seconds IS NULL` makes a second bill impossible whatever the caller does.
"""

import uuid

from django.db import transaction
from django.db.models import BigIntegerField, F, Q, Sum
from django.db.models.functions import Coalesce, Least, Now, TruncMonth

from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant, UsageEntry

MINIMUM_HOLD_SECONDS = 1  # Until the voice was measured: enough that an empty account is refused at once.


@transaction.atomic
def hold(tenant: Tenant, *, render_id: uuid.UUID, api_key: ApiKey | None, engine: str, resolution: str) -> UsageEntry:
    """Open the usage row of a new render. Raises ServiceError `quota_exceeded` or `spend_cap_reached`."""
    tenant = _lock(tenant)
    price = tenant.plan.price_per_second(engine=engine, resolution=resolution)
    _require(tenant, MINIMUM_HOLD_SECONDS, price)
    return UsageEntry.objects.create(
        tenant=tenant,
        api_key=api_key,
        render_id=render_id,
        engine=engine,
        resolution=resolution,
        reserved_seconds=MINIMUM_HOLD_SECONDS,
        price_micros=price,
        amount_micros=MINIMUM_HOLD_SECONDS * price,
        currency=tenant.plan.currency,
    )


@transaction.atomic
def set_hold(render_id: uuid.UUID, seconds: int) -> None:
    """Set the hold to the render's true length. Raises ServiceError when the tenant cannot pay for it."""
    entry = UsageEntry.objects.get(render_id=render_id)
    tenant = _lock(entry.tenant)
    _require(tenant, seconds - entry.reserved_seconds, entry.price_micros)
    UsageEntry.objects.filter(render_id=render_id, billed_seconds=None).update(
        reserved_seconds=seconds, amount_micros=seconds * F("price_micros")
    )


def settle(render_id: uuid.UUID, *, seconds: int, gpu_seconds: float) -> None:
    """Turn the hold into a bill, never above the hold. Does nothing the second time."""
    billed = Least(max(seconds, 0), F("reserved_seconds"), output_field=BigIntegerField())
    UsageEntry.objects.filter(render_id=render_id, billed_seconds=None).update(
        billed_seconds=billed, amount_micros=billed * F("price_micros"), gpu_seconds=gpu_seconds, settled_at=Now()
    )


def release(render_id: uuid.UUID, *, gpu_seconds: float) -> None:
    """End the hold without a bill; what the render has used is still noted."""
    settle(render_id, seconds=0, gpu_seconds=gpu_seconds)


def seconds_available(tenant: Tenant) -> int:
    return tenant.plan.monthly_seconds - _sums(tenant)["seconds"]


def _require(tenant: Tenant, seconds: int, price_micros: int) -> None:
    sums = _sums(tenant)
    available = tenant.plan.monthly_seconds - sums["seconds"]
    if seconds > available:
        raise ServiceError(
            "quota_exceeded", f"{seconds} s of output more are needed, {max(available, 0)} s are left this month."
        )
    cap = tenant.plan.spend_cap_micros
    if cap is not None and price_micros and sums["amount"] + seconds * price_micros > cap:
        raise ServiceError("spend_cap_reached", "This would pass the account's spend cap of this month.")


def _sums(tenant: Tenant) -> dict[str, int]:
    this_month = UsageEntry.objects.filter(tenant=tenant, created_at__gte=TruncMonth(Now()))
    return this_month.aggregate(
        seconds=Coalesce(Sum(Coalesce("billed_seconds", "reserved_seconds", output_field=BigIntegerField())), 0),
        amount=Coalesce(Sum("amount_micros", filter=Q(currency=tenant.plan.currency)), 0),
    )


def _lock(tenant: Tenant) -> Tenant:
    # Two requests must not both take the last second.
    return Tenant.objects.select_related("plan").select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
