"""Usage as rows and as sums of rows: whatever is grouped, the sums are those of the same rows.

A row belongs to the day and month (UTC) in which its render was asked for, as in `accounts.billing.quota`. A hold that
is not settled yet has held seconds and no bill; it counts in no amount.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Case, Count, F, Q, QuerySet, Sum, Value, When
from django.db.models.fields import CharField
from django.db.models.functions import Cast, Coalesce, TruncDay, TruncMonth

from accounts.errors import ServiceError
from accounts.models import Tenant, UsageEntry

SETTLED = Q(billed_seconds__isnull=False)
# Name in the API -> what the rows are grouped by.
GROUPS: dict[str, Any] = {
    "day": TruncDay("created_at", tzinfo=UTC),
    "month": TruncMonth("created_at", tzinfo=UTC),
    "key": Coalesce(F("api_key__prefix"), Value("")),
    "user_id": F("user_label"),
    "engine": F("engine"),
    "resolution": F("resolution"),
}
# Prefixed, because an annotation of a field's name would stand for the field in the others.
SUMS = {
    "sum_renders": Count("render_id", filter=SETTLED),
    "sum_billed_seconds": Coalesce(Sum("billed_seconds"), 0),
    "sum_amount_micros": Coalesce(Sum("amount_micros", filter=SETTLED), 0),
    "sum_held_seconds": Coalesce(Sum("reserved_seconds", filter=~SETTLED), 0),
}


MAX_GROUPS = 10_000  # in one answer
YEARS = range(2000, 3000)  # Far enough from the end of time for a month more, in any time zone.
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Period:
    start: date
    end: date  # the day after the last one

    @classmethod
    def month(cls, first: date) -> "Period":
        first = first.replace(day=1)
        return cls(first, next_month(first))

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (self.start, self.end))
        return start, end


def month_of(text: str) -> date:
    """The first day of a month that is written as YYYY-MM. Raises ValueError for another text, or outside of YEARS."""
    match = _MONTH.fullmatch(text)
    if match is None or int(match[1]) not in YEARS:
        raise ValueError(f"Not a month from {YEARS.start}-01 to {YEARS.stop - 1}-12: {text[:20]}")
    return date(int(match[1]), int(match[2]), 1)


def next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def entries(tenant: Tenant, period: Period, *, is_test: bool) -> QuerySet[UsageEntry]:
    start, end = period.bounds
    return UsageEntry.objects.filter(tenant=tenant, is_test=is_test, created_at__gte=start, created_at__lt=end)


def grouped(rows: QuerySet[UsageEntry], names: Sequence[str]) -> list[dict[str, Any]]:
    """The sums of each group, each in one currency; names: of GROUPS. Raises ServiceError for more than MAX_GROUPS."""
    named = {f"group_{name}": GROUPS[name] for name in names}
    sums = rows.order_by().values(**named).values("currency", *named).annotate(**SUMS).order_by(*named, "currency")
    found = list(sums[: MAX_GROUPS + 1])
    if len(found) > MAX_GROUPS:
        detail = (
            f"These are more than {MAX_GROUPS} groups. Ask for fewer days, for less to group by, or for one user_id."
        )
        raise ServiceError("invalid", f"group_by: {detail}", param="group_by")
    return [{_public(name): _shown(name, value) for name, value in row.items()} for row in found]


def totals(rows: QuerySet[UsageEntry]) -> list[dict[str, Any]]:
    """One for each currency: money of two is never added up."""
    return grouped(rows, [])


def with_kind(rows: QuerySet[UsageEntry]) -> QuerySet[UsageEntry]:
    """kind: hold, charge or adjustment."""
    kind = Case(
        When(render_id__isnull=True, then=Value("adjustment")),
        When(billed_seconds__isnull=True, then=Value("hold")),
        default=Value("charge"),
        output_field=CharField(),
    )
    return rows.annotate(kind=kind, key_prefix=Coalesce(Cast("api_key__prefix", CharField()), Value("")))


def _public(name: str) -> str:
    return name.removeprefix("group_").removeprefix("sum_")


def _shown(name: str, value: Any) -> Any:
    if name == "group_month":
        return value.strftime("%Y-%m")
    return value.date().isoformat() if name == "group_day" else value


def chunked(rows: QuerySet[UsageEntry], size: int = 2000) -> Iterator[UsageEntry]:
    """All rows, oldest first, some at a time: poolers in transaction mode keep no cursor."""
    ordered = after = rows.order_by("created_at", "pk")
    while batch := list(after[:size]):
        yield from batch
        last = batch[-1]
        # In this form, the index of the tenant's rows by time leads to the next ones.
        later = Q(created_at__gt=last.created_at) | Q(pk__gt=last.pk)
        after = ordered.filter(later, created_at__gte=last.created_at)
