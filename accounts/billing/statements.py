"""A tenant's statement of a month: what was charged at which price, and what was corrected, in the sums of the rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Count, Sum
from django.template.loader import render_to_string

from accounts.billing import reports
from accounts.billing.reports import Period
from accounts.models import Tenant, UsageEntry


@dataclass(frozen=True)
class Statement:
    tenant: Tenant
    month: date  # its first day
    lines: list[dict[str, Any]]  # engine, resolution, currency, price_micros, renders, seconds, amount_micros
    adjustments: list[UsageEntry]
    totals: list[dict[str, Any]]  # by currency

    @property
    def period(self) -> Period:
        return Period.month(self.month)


def make(tenant: Tenant, month: date, *, is_test: bool) -> Statement:
    """is_test: of what test keys have made, which costs nothing; corrections are live."""
    rows = reports.entries(tenant, Period.month(month), is_test=is_test)
    # What was not billed, as it failed, is no line, and so in no total: these are what the lines come to.
    rows = rows.exclude(render_id__isnull=False, billed_seconds=0)
    charged = rows.filter(reports.SETTLED, render_id__isnull=False)
    lines: Iterable[Any] = (
        charged.order_by()
        .values("currency", "engine", "resolution", "price_micros")
        .annotate(renders=Count("pk"), seconds=Sum("billed_seconds"), total_micros=Sum("amount_micros"))
        .order_by("currency", "engine", "resolution", "price_micros")
    )
    adjustments = rows.filter(render_id__isnull=True).select_related("author").order_by("created_at")
    return Statement(tenant, month.replace(day=1), list(lines), list(adjustments), reports.totals(rows))


def as_html(statement: Statement) -> str:
    """A page that prints on paper, or to PDF, as it is."""
    return render_to_string("accounts/statement.html", {"statement": statement})
