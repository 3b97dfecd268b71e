"""A tenant's statement of a month: charges by price, adjustments, and their totals."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Count, Sum
from django.template.loader import render_to_string

from accounts.billing import quota, reports
from accounts.models import Tenant, UsageEntry
from accounts.periods import Period


@dataclass(frozen=True)
class Statement:
    tenant: Tenant
    month: date  # its first day
    lines: list[dict[str, Any]]  # engine, resolution, upscale, currency, price_micros, renders, seconds, total_micros
    adjustments: list[UsageEntry]
    totals: list[dict[str, Any]]  # one for each currency, from `reports.totals`


def make(tenant: Tenant, month: date, *, is_test: bool) -> Statement:
    """month: any of its days. is_test: the usage of test keys, which costs nothing; it has no adjustments."""
    rows = quota.entries(tenant, Period.month(month), is_test=is_test)
    # Canceled and failed renders have no line, so the totals leave them out, too: the totals are the sums of the lines.
    rows = rows.exclude(render_id__isnull=False, billed_seconds=0)
    charges = rows.filter(reports.SETTLED, render_id__isnull=False)
    lines: Iterable[Any] = (
        charges.order_by()
        .values("currency", "engine", "resolution", "upscale", "price_micros")
        .annotate(renders=Count("pk"), seconds=Sum("billed_seconds"), total_micros=Sum("amount_micros"))
        .order_by("currency", "engine", "resolution", "upscale", "price_micros")
    )
    adjustments = rows.filter(render_id__isnull=True).select_related("author").order_by("created_at")
    return Statement(tenant, month.replace(day=1), list(lines), list(adjustments), reports.totals(rows))


def as_html(statement: Statement) -> str:
    """Return a page laid out for printing on paper or to PDF."""
    return render_to_string("accounts/statement.html", {"statement": statement})
