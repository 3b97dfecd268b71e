"""The only module that writes usage: hold, set the price, settle, release.

Quota is one table and one sum. A hold counts until it is settled or released, so there is no counter to drift, and the
guard `billed_seconds IS NULL` makes a second bill impossible whatever the caller does.
"""

import uuid
from datetime import date

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import BigIntegerField, F, Q, Sum
from django.db.models.functions import Coalesce, Least, Now, TruncMonth
from django.utils import timezone

from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant, UsageEntry, UsageThreshold

THRESHOLDS = (80, 100)  # percent of what the plan allows
MINIMUM_HOLD_SECONDS = 1  # Until the voice was measured: enough that an empty account is refused at once.


@transaction.atomic
def hold(
    tenant: Tenant,
    *,
    render_id: uuid.UUID,
    api_key: ApiKey | None,
    is_test: bool,
    engine: str,
    resolution: str,
    user_label: str = "",
    seconds: int = MINIMUM_HOLD_SECONDS,
) -> UsageEntry:
    """Open the usage row of a new render; seconds: as many as are known to be needed.

    api_key: None when staff have asked for it. is_test: it counts for nothing. Raises ServiceError `quota_exceeded` or
    `spend_cap_reached`.
    """
    tenant = _lock(tenant)
    price = 0 if is_test else tenant.plan.price_per_second(engine=engine, resolution=resolution)
    if not is_test:
        _require(tenant, seconds, price)
    return UsageEntry.objects.create(
        tenant=tenant,
        api_key=api_key,
        render_id=render_id,
        engine=engine,
        resolution=resolution,
        user_label=user_label,
        is_test=is_test,
        reserved_seconds=seconds,
        price_micros=price,
        amount_micros=seconds * price,
        currency=tenant.plan.currency,
    )


@transaction.atomic
def set_hold(render_id: uuid.UUID, seconds: int) -> None:
    """Set the hold to the render's true length. Raises ServiceError when the tenant cannot pay for it."""
    entry = UsageEntry.objects.get(render_id=render_id)
    tenant = _lock(entry.tenant)
    more = seconds - entry.reserved_seconds
    if more > 0 and not entry.is_test:  # What is held already is kept, even where the plan allows less by now.
        _require(tenant, more, entry.price_micros)
    UsageEntry.objects.filter(render_id=render_id, billed_seconds=None).update(
        reserved_seconds=seconds, amount_micros=seconds * F("price_micros")
    )


def settle(render_id: uuid.UUID, *, seconds: int, gpu_seconds: float, cost_micros: int = 0) -> None:
    """Turn the hold into a bill, never above the hold. cost_micros: what it has cost us. Nothing, the second time."""
    billed = Least(max(seconds, 0), F("reserved_seconds"), output_field=BigIntegerField())
    UsageEntry.objects.filter(render_id=render_id, billed_seconds=None).update(
        billed_seconds=billed,
        amount_micros=billed * F("price_micros"),
        gpu_seconds=gpu_seconds,
        cost_micros=cost_micros,
        settled_at=Now(),
    )


def release(render_id: uuid.UUID, *, gpu_seconds: float, cost_micros: int = 0) -> None:
    """End the hold without a bill; what the render has used is still noted."""
    settle(render_id, seconds=0, gpu_seconds=gpu_seconds, cost_micros=cost_micros)


@transaction.atomic
def adjust(tenant: Tenant, *, seconds: int, amount_micros: int, reason: str, author: User | None) -> UsageEntry:
    """Correct the month's usage by a row of its own; less than nothing is a credit.

    Raises ServiceError `invalid` without a reason, and when more would be given back than was used.
    """
    tenant = _lock(tenant)
    sums = _sums(tenant)
    if not reason.strip():
        raise ServiceError("invalid", "An adjustment needs a reason.", param="reason")
    if not seconds and not amount_micros:
        raise ServiceError("invalid", "An adjustment changes seconds or money.", param="seconds")
    if sums["seconds"] + seconds < 0:
        raise ServiceError("invalid", f"Only {sums['seconds']} s were used this month.", param="seconds")
    if sums["amount"] + amount_micros < 0:
        raise ServiceError("invalid", "More would be given back than was charged this month.", param="amount_micros")
    return UsageEntry.objects.create(
        tenant=tenant,
        billed_seconds=seconds,
        amount_micros=amount_micros,
        currency=tenant.plan.currency,
        reason=reason.strip(),
        author=author,
        settled_at=Now(),
    )


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
    _note_thresholds(tenant, UsageThreshold.Measure.SECONDS, sums["seconds"] + seconds, tenant.plan.monthly_seconds)
    if cap is not None:
        used = sums["amount"] + seconds * price_micros
        _note_thresholds(tenant, UsageThreshold.Measure.SPEND, used, cap)


def _note_thresholds(tenant: Tenant, measure: UsageThreshold.Measure, used: int, allowed: int) -> None:
    """Holds count, too: the tenant is to hear of it before it is refused."""
    passed = [percent for percent in THRESHOLDS if allowed and 100 * used >= percent * allowed]
    UsageThreshold.objects.bulk_create(
        [
            UsageThreshold(
                tenant=tenant, month=_this_month(), measure=measure, percent=percent, used=used, allowed=allowed
            )
            for percent in passed
        ],
        ignore_conflicts=True,
    )


def _this_month() -> date:
    return timezone.now().date().replace(day=1)


def _sums(tenant: Tenant) -> dict[str, int]:
    this_month = UsageEntry.objects.filter(tenant=tenant, is_test=False, created_at__gte=TruncMonth(Now()))
    return this_month.aggregate(
        seconds=Coalesce(Sum(Coalesce("billed_seconds", "reserved_seconds", output_field=BigIntegerField())), 0),
        amount=Coalesce(Sum("amount_micros", filter=Q(currency=tenant.plan.currency)), 0),
    )


def _lock(tenant: Tenant) -> Tenant:
    # Two requests must not both take the last second.
    return Tenant.objects.select_related("plan").select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
