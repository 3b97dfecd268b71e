"""The only module that writes usage: hold, set the price, settle, release.

Quota is one table and one sum. A hold counts until it is settled or released, so there is no counter to drift, and the
guard `billed_seconds IS NULL` makes a second bill impossible whatever the caller does.

A row counts in the month (UTC) of its `created_at`, for ever: what is raised later is checked against that same month.
"""

import uuid
from datetime import UTC, date, datetime

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import BigIntegerField, Count, F, Q, Sum
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone

from accounts import prices
from accounts.billing.reports import Period
from accounts.errors import ServiceError
from accounts.models import ApiKey, Plan, Tenant, UsageEntry, UsageThreshold

THRESHOLDS = (80, 100)  # percent of what the plan allows
MINIMUM_HOLD_SECONDS = 1  # Until the voice was measured: enough that an empty account is refused at once.
# What is canceled, fails or is of a test key costs nothing, but leaves rows that are kept for ever.
FREE_RENDERS = 10_000  # a month


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
    """Open the usage row of a new render, in the caller's transaction; seconds: as many as are known to be needed.

    api_key: None when staff have asked for it. is_test: it counts for nothing. Raises ServiceError `price_missing`,
    `quota_exceeded` or `spend_cap_reached`.
    """
    tenant, now = _lock(tenant)
    price = 0 if is_test else prices.per_second(tenant.plan, engine=engine, resolution=resolution)
    month = _month_of(now)
    sums, most = _sums(tenant, month, is_test=is_test), max_renders(tenant.plan, is_test=is_test)
    if sums["renders"] >= most:
        whose = "test keys" if is_test else "live keys"
        detail = (
            f"With {whose} {most} renders may be asked for in {month:%Y-%m}, the canceled and failed ones included."
        )
        raise ServiceError("quota_exceeded", detail)
    if not is_test:
        _require(tenant, sums, seconds, price, month=month)
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
        created_at=now,  # The clock may come to the next month before the row is written.
    )


@transaction.atomic
def set_hold(render_id: uuid.UUID, seconds: int) -> None:
    """Set the hold to the render's true length. Raises ServiceError when the tenant cannot pay for it."""
    entry = UsageEntry.objects.get(render_id=render_id)
    tenant, _ = _lock(entry.tenant)
    more = seconds - entry.reserved_seconds
    if more > 0 and not entry.is_test:  # What is held already is kept, even where the plan allows less by now.
        month = _month_of(entry.created_at)
        _require(tenant, _sums(tenant, month), more, entry.price_micros, month=month)
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
    tenant, now = _lock(tenant)
    sums = _sums(tenant, _month_of(now))
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
        created_at=now,
        settled_at=now,
    )


def seconds_available(tenant: Tenant, *, at: datetime | None = None) -> int:
    """Output seconds that are left in the month of that moment. Default: now."""
    return tenant.plan.monthly_seconds - _sums(tenant, _month_of(at or timezone.now()))["seconds"]


def max_renders(plan: Plan, *, is_test: bool) -> int:
    """That may be asked for in a month. Each that is finished with a live key uses a second of the plan at least."""
    return FREE_RENDERS if is_test else FREE_RENDERS + plan.monthly_seconds


def _require(tenant: Tenant, sums: dict[str, int], seconds: int, price_micros: int, *, month: date) -> None:
    available = tenant.plan.monthly_seconds - sums["seconds"]
    if seconds > available:
        raise ServiceError(
            "quota_exceeded",
            f"{seconds} s of output more are needed, {max(available, 0)} s are left of {month:%Y-%m}.",
        )
    cap = tenant.plan.spend_cap_micros
    if cap is not None and price_micros and sums["amount"] + seconds * price_micros > cap:
        raise ServiceError("spend_cap_reached", f"This would pass the account's spend cap of {month:%Y-%m}.")
    used = {UsageThreshold.Measure.SECONDS: (sums["seconds"] + seconds, tenant.plan.monthly_seconds)}
    if cap is not None:
        used[UsageThreshold.Measure.SPEND] = (sums["amount"] + seconds * price_micros, cap)
    for measure, (amount, allowed) in used.items():
        _note_thresholds(tenant, month, measure, amount, allowed)


def _note_thresholds(tenant: Tenant, month: date, measure: UsageThreshold.Measure, used: int, allowed: int) -> None:
    """Holds count, too: the tenant is to hear of it before it is refused."""
    passed = [percent for percent in THRESHOLDS if allowed and 100 * used >= percent * allowed]
    UsageThreshold.objects.bulk_create(
        [
            UsageThreshold(tenant=tenant, month=month, measure=measure, percent=percent, used=used, allowed=allowed)
            for percent in passed
        ],
        ignore_conflicts=True,
    )


def _month_of(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def _sums(tenant: Tenant, month: date, *, is_test: bool = False) -> dict[str, int]:
    start, end = Period.month(month).bounds
    rows = UsageEntry.objects.filter(tenant=tenant, is_test=is_test, created_at__gte=start, created_at__lt=end)
    return rows.aggregate(
        renders=Count("render_id"),
        seconds=Coalesce(Sum(Coalesce("billed_seconds", "reserved_seconds", output_field=BigIntegerField())), 0),
        amount=Coalesce(Sum("amount_micros", filter=Q(currency=tenant.plan.currency)), 0),
    )


def _lock(tenant: Tenant) -> tuple[Tenant, datetime]:
    """The tenant, locked: two requests must not both take the last second. And the time by the database's clock."""
    locked = Tenant.objects.select_related("plan").annotate(now=Now())
    row = locked.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
    return row, row.now
