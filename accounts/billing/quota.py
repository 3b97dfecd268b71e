"""Check and record usage: hold, change the hold, settle, release, adjust. No other module writes `UsageEntry`.

The used quota is the sum of one table, in which a hold counts as much as a charge. So there is no counter that could
drift, and the condition `billed_seconds IS NULL` rules out a second charge whatever the caller does.

A row counts for ever in the month (UTC) of its `created_at`: a hold that is raised in the next month is checked against
the month of the row.
"""

import uuid
from datetime import date, datetime

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import BigIntegerField, Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone

from accounts import prices
from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant, UsageEntry, UsageThreshold
from accounts.periods import Period, month_of

THRESHOLDS = (80, 100)  # percent of what the plan allows
# Held until the length of the voice is known, so that a tenant without any quota left is refused at once.
MINIMUM_HOLD_SECONDS = 1


def hold(
    tenant: Tenant,
    *,
    render_id: uuid.UUID,
    api_key: ApiKey | None,
    is_test: bool,
    engine: str,
    resolution: str,
    upscale: str = "none",
    user_label: str = "",
    seconds: int = MINIMUM_HOLD_SECONDS,
) -> UsageEntry:
    """Add the usage row of a new render, in the caller's transaction.

    api_key: None if staff requested the render. is_test: it costs nothing and uses none of the quota. seconds: length
    of the video as far as it is known. Raises ServiceError `price_missing`, `quota_exceeded` or `spend_cap_reached`.
    """
    tenant, now = _lock(tenant)
    price = 0 if is_test else prices.per_second(tenant.plan, engine=engine, resolution=resolution, upscale=upscale)
    month = month_of(now)
    used = _used(tenant, month, is_test=is_test)
    max_renders = tenant.plan.max_test_renders if is_test else tenant.plan.max_renders
    if used["renders"] >= max_renders:
        kind = "test keys" if is_test else "live keys"
        raise ServiceError(
            "quota_exceeded",
            f"In {month:%Y-%m}, {kind} may start {max_renders} renders, including canceled and failed ones.",
        )
    if not is_test:
        _require(tenant, used, seconds, price, month=month)
    return UsageEntry.objects.create(
        tenant=tenant,
        api_key=api_key,
        render_id=render_id,
        engine=engine,
        resolution=resolution,
        upscale=upscale,
        user_label=user_label,
        is_test=is_test,
        reserved_seconds=seconds,
        price_micros=price,
        amount_micros=seconds * price,
        currency=tenant.plan.currency,
        created_at=now,  # The time of the check: by the time of the INSERT the next month may have begun.
    )


@transaction.atomic
def set_hold(render_id: uuid.UUID, seconds: int, *, is_enlarged: bool = True) -> None:
    """Set the hold to the render's real length.

    is_enlarged: False if the video turned out to be as large already as `upscale` says: then that costs nothing. Raises
    ServiceError `quota_exceeded` or `spend_cap_reached`, and `price_missing` if the plan has lost the price without
    upscaling since.
    """
    entry = UsageEntry.objects.get(render_id=render_id)
    tenant, _ = _lock(entry.tenant)
    if not is_enlarged and entry.upscale != "none":
        entry.upscale = "none"
        if not entry.is_test:
            plain = prices.per_second(tenant.plan, engine=entry.engine, resolution=entry.resolution)
            # Never more than was agreed when the render was requested: the plan's prices may have risen.
            entry.price_micros = min(plain, entry.price_micros)
        entry.save(update_fields=["upscale", "price_micros"])
    more = seconds - entry.reserved_seconds
    if more > 0 and not entry.is_test:  # Only what is added is checked: the plan may allow less than before.
        month = month_of(entry.created_at)
        _require(tenant, _used(tenant, month), more, entry.price_micros, month=month)
    UsageEntry.objects.filter(render_id=render_id, billed_seconds=None).update(
        reserved_seconds=seconds, amount_micros=seconds * F("price_micros")
    )


def settle(render_id: uuid.UUID, *, seconds: int, gpu_seconds: float, cost_micros: int = 0) -> None:
    """Turn the hold into a charge, of the held seconds at most. A second call changes nothing.

    cost_micros: our own cost of the render.
    """
    billed = Least(max(seconds, 0), F("reserved_seconds"), output_field=BigIntegerField())
    UsageEntry.objects.filter(render_id=render_id, billed_seconds=None).update(
        billed_seconds=billed,
        amount_micros=billed * F("price_micros"),
        gpu_seconds=gpu_seconds,
        cost_micros=cost_micros,
        settled_at=Now(),
    )


def release(render_id: uuid.UUID, *, gpu_seconds: float, cost_micros: int = 0) -> None:
    """End the hold without a charge. The GPU seconds and our cost are still recorded."""
    settle(render_id, seconds=0, gpu_seconds=gpu_seconds, cost_micros=cost_micros)


@transaction.atomic
def adjust(tenant: Tenant, *, seconds: int, amount_micros: int, reason: str, author: User | None) -> UsageEntry:
    """Correct this month's usage with a row of its own. Negative numbers are a credit.

    Raises ServiceError `invalid` without a reason, and for a credit of more than was used.
    """
    tenant, now = _lock(tenant)
    used = _used(tenant, month_of(now))
    if not reason.strip():
        raise ServiceError("invalid", "An adjustment needs a reason.", param="reason")
    if not seconds and not amount_micros:
        raise ServiceError("invalid", "An adjustment changes seconds or money.", param="seconds")
    if used["seconds"] + seconds < 0:
        raise ServiceError("invalid", f"Only {used['seconds']} s were used this month.", param="seconds")
    if used["amount"] + amount_micros < 0:
        raise ServiceError("invalid", "The credit is more than was charged this month.", param="amount_micros")
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


def entries(tenant: Tenant, period: Period, *, is_test: bool) -> QuerySet[UsageEntry]:
    """The usage rows of a period, those of test keys or those of live keys."""
    start, end = period.bounds
    return UsageEntry.objects.filter(tenant=tenant, is_test=is_test, created_at__gte=start, created_at__lt=end)


def seconds_available(tenant: Tenant, *, at: datetime | None = None) -> int:
    """Return the seconds of video left in the month of this moment. Default: now."""
    return tenant.plan.monthly_seconds - _used(tenant, month_of(at or timezone.now()))["seconds"]


def _require(tenant: Tenant, used: dict[str, int], seconds: int, price_micros: int, *, month: date) -> None:
    """Refuse `seconds` more than `used` if the plan does not allow them; record the thresholds that they reach."""
    available = tenant.plan.monthly_seconds - used["seconds"]
    if seconds > available:
        raise ServiceError(
            "quota_exceeded", f"This needs {seconds} s of video; {max(available, 0)} s are left of {month:%Y-%m}."
        )
    cap = tenant.plan.spend_cap_micros
    if cap is not None and price_micros and used["amount"] + seconds * price_micros > cap:
        raise ServiceError("spend_cap_reached", f"This would exceed the account's spend cap of {month:%Y-%m}.")
    _record_thresholds(
        tenant, month, UsageThreshold.Measure.SECONDS, used["seconds"] + seconds, tenant.plan.monthly_seconds
    )
    if cap is not None:
        _record_thresholds(tenant, month, UsageThreshold.Measure.SPEND, used["amount"] + seconds * price_micros, cap)


def _record_thresholds(tenant: Tenant, month: date, measure: UsageThreshold.Measure, used: int, allowed: int) -> None:
    """Add a row for each threshold that is reached. Holds count, so that the tenant hears of it before a refusal."""
    reached = [percent for percent in THRESHOLDS if allowed and 100 * used >= percent * allowed]
    UsageThreshold.objects.bulk_create(
        [
            UsageThreshold(tenant=tenant, month=month, measure=measure, percent=percent, used=used, allowed=allowed)
            for percent in reached
        ],
        ignore_conflicts=True,
    )


def _used(tenant: Tenant, month: date, *, is_test: bool = False) -> dict[str, int]:
    """Return `renders`, `seconds` and `amount` (micros of the plan's currency) of the month, holds included."""
    return entries(tenant, Period.month(month), is_test=is_test).aggregate(
        renders=Count("render_id"),
        seconds=Coalesce(Sum(Coalesce("billed_seconds", "reserved_seconds", output_field=BigIntegerField())), 0),
        amount=Coalesce(Sum("amount_micros", filter=Q(currency=tenant.plan.currency)), 0),
    )


def _lock(tenant: Tenant) -> tuple[Tenant, datetime]:
    """Lock the tenant's row, so that two requests cannot both get the last second. Also returns the database's time."""
    locked = Tenant.objects.select_related("plan").annotate(now=Now())
    row = locked.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
    return row, row.now
