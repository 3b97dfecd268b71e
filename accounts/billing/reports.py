"""Usage as rows and as sums of the same rows.

A row belongs to the day and month (UTC) in which its render was requested, as in `accounts.billing.quota`. A hold that
is not settled counts in `held_seconds` only, in no billed seconds and no amount.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.fields import CharField
from django.db.models.functions import Cast, Coalesce, TruncDay, TruncMonth

from accounts.errors import ServiceError
from accounts.models import UsageEntry

SETTLED = Q(billed_seconds__isnull=False)
# Name in the API -> expression that the rows are grouped by.
GROUPS: dict[str, Any] = {
    "day": TruncDay("created_at", tzinfo=UTC),
    "month": TruncMonth("created_at", tzinfo=UTC),
    "key": Coalesce(F("api_key__prefix"), Value("")),
    "user_id": F("user_label"),
    "engine": F("engine"),
    "resolution": F("resolution"),
    "upscale": F("upscale"),
}
# The prefixes `sum_` and `group_` avoid a clash: an annotation with a field's name would replace the field in the other
# expressions.
SUMS = {
    "sum_renders": Count("render_id", filter=SETTLED),
    "sum_billed_seconds": Coalesce(Sum("billed_seconds"), 0),
    "sum_amount_micros": Coalesce(Sum("amount_micros", filter=SETTLED), 0),
    "sum_held_seconds": Coalesce(Sum("reserved_seconds", filter=~SETTLED), 0),
}
MAX_GROUPS = 10_000  # in one response


def grouped(rows: QuerySet[UsageEntry], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the sums of each group and currency, as dicts of `names`, `currency` and SUMS without the prefix.

    names: keys of GROUPS. Raises ServiceError `invalid` for more than MAX_GROUPS.
    """
    groups = {f"group_{name}": GROUPS[name] for name in names}
    sums = rows.order_by().values(**groups).values("currency", *groups).annotate(**SUMS).order_by(*groups, "currency")
    results = list(sums[: MAX_GROUPS + 1])
    if len(results) > MAX_GROUPS:
        detail = (
            f"These are more than {MAX_GROUPS} groups. Ask for fewer days, fewer names in group_by, or one user_id."
        )
        raise ServiceError("invalid", f"group_by: {detail}", param="group_by")
    return [{_public(name): _formatted(name, value) for name, value in result.items()} for result in results]


def totals(rows: QuerySet[UsageEntry]) -> list[dict[str, Any]]:
    """Return one sum for each currency; amounts of different currencies are never added."""
    return grouped(rows, [])


def with_key_prefix(rows: QuerySet[UsageEntry]) -> QuerySet[UsageEntry]:
    """Add `key_prefix`, the prefix of the row's API key; empty for a row without one."""
    return rows.annotate(key_prefix=Coalesce(Cast("api_key__prefix", CharField()), Value("")))


def _public(name: str) -> str:
    return name.removeprefix("group_").removeprefix("sum_")


def _formatted(name: str, value: Any) -> Any:
    if name == "group_month":
        return value.strftime("%Y-%m")
    return value.date().isoformat() if name == "group_day" else value


def chunked(rows: QuerySet[UsageEntry], size: int = 2000) -> Iterator[UsageEntry]:
    """Yield all rows, oldest first, read in chunks of `size`.

    Not `QuerySet.iterator`: its server-side cursor does not survive a connection pooler in transaction mode.
    """
    ordered = after = rows.order_by("created_at", "pk")
    while batch := list(after[:size]):
        yield from batch
        last = batch[-1]
        # Written as `created_at >= x AND (...)`, because Postgres finds this by the index on tenant and created_at.
        later = Q(created_at__gt=last.created_at) | Q(pk__gt=last.pk)
        after = ordered.filter(later, created_at__gte=last.created_at)
