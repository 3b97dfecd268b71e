"""The report of a month, a page of the admin: sums of usage rows by tenant, engine, node and day."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDay
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render as render_page
from django.utils import timezone

from accounts.billing.reports import SETTLED
from accounts.models import UsageEntry
from accounts.periods import Period, next_month, parse_month
from render.models import Render, State

_BY_NODE = """
WITH shared AS (
    SELECT attempt.node_id, attempt.outcome, attempt.render_seconds, usage.currency, usage.billed_seconds,
           usage.amount_micros, usage.cost_micros,
           coalesce(attempt.render_seconds / nullif(sum(attempt.render_seconds) OVER of_render, 0),
                    1.0 / count(*) OVER of_render) AS share
    FROM render_attempt attempt
    JOIN accounts_usageentry usage ON usage.render_id = attempt.render_id
    WHERE usage.billed_seconds IS NOT NULL AND NOT usage.is_test
      AND usage.created_at >= %s AND usage.created_at < %s
    WINDOW of_render AS (PARTITION BY attempt.render_id)
)
SELECT coalesce(node.name || ' (' || node.queue || ')', '(none)') AS name, currency,
       count(*) FILTER (WHERE outcome IN ('done', 'handed_over', 'yielded')),
       count(*) FILTER (WHERE outcome IN ('failed', 'lease_lost')),
       round(sum(billed_seconds * share))::bigint, round(sum(amount_micros * share))::bigint,
       sum(render_seconds), round(sum(cost_micros * share))::bigint
FROM shared LEFT JOIN render_node node ON node.id = shared.node_id
GROUP BY 1, 2 ORDER BY 1, 2
"""

SHOWN_ROWS = 200  # of a table


@dataclass(frozen=True)
class Row:
    """One line of a table: a tenant, an engine or a node, in one currency."""

    name: str
    currency: str
    finished: int
    failed: int
    seconds: int
    revenue_micros: int
    gpu_seconds: float
    cost_micros: int

    @property
    def margin_micros(self) -> int:
        return self.revenue_micros - self.cost_micros

    @property
    def success_percent(self) -> float | None:
        """Finished renders of those that were not canceled; None if there is none."""
        ended = self.finished + self.failed
        return 100 * self.finished / ended if ended else None


@dataclass(frozen=True)
class Day:
    day: date
    currency: str
    revenue_micros: int
    cost_micros: int


def by_tenant(period: Period) -> list[Row]:
    return _rows(period, "tenant__name", F("tenant__name"))


def by_engine(period: Period) -> list[Row]:
    return _rows(period, "engine", F("engine"))


def totals(period: Period) -> list[Row]:
    return _rows(period, None, None)


def by_node(period: Period) -> list[Row]:
    """A render's money is divided among its nodes by its seconds on each; finished and failed count attempts."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_NODE, [*period.bounds])
        return [Row(*row) for row in cursor.fetchall()]


def by_day(period: Period) -> list[Day]:
    """Every day of the period, in each currency that the period has."""
    day = TruncDay("created_at", tzinfo=UTC)
    sums = {
        (row["day"].date(), row["currency"]): (row["revenue"], row["cost"])
        for row in _entries(period)
        .order_by()
        .annotate(day=day)
        .values("day", "currency")
        .annotate(revenue=Sum("amount_micros"), cost=Sum("cost_micros"))
    }
    currencies = sorted({currency for _, currency in sums})
    days = [period.start + timedelta(days=number) for number in range((period.end - period.start).days)]
    return [Day(day, currency, *sums.get((day, currency), (0, 0))) for currency in currencies for day in days]


def report_view(request: HttpRequest, month: str | None = None) -> HttpResponse:
    """A page of the admin. Needs the permission `accounts.view_report`."""
    if not request.user.has_perm("accounts.view_report"):
        raise PermissionDenied
    first = timezone.now().date().replace(day=1)
    if month is not None:
        try:
            first = parse_month(month)
        except ValueError:
            raise Http404 from None
    period = Period.month(first)
    days = by_day(period)
    tallest = max((max(day.revenue_micros, day.cost_micros) for day in days), default=0) or 1
    context = {
        **admin.site.each_context(request),
        "title": f"Report {first:%B %Y}",
        "month": first,
        "previous": (first - timedelta(days=1)).replace(day=1),
        "next": next_month(first),
        "tables": [
            ("By tenant", *_shown(by_tenant(period))),
            ("By engine", *_shown(by_engine(period))),
            ("By node", *_shown(by_node(period))),
        ],
        "totals": totals(period),
        "charts": _charts(days, tallest),
    }
    return render_page(request, "admin/report.html", context)


def _shown(rows: list[Row]) -> tuple[list[Row], int]:
    """SHOWN_ROWS rows at most, those with the most revenue if there are more; and how many are left out."""
    if len(rows) <= SHOWN_ROWS:
        return rows, 0
    most = sorted(rows, key=lambda row: row.revenue_micros, reverse=True)
    return most[:SHOWN_ROWS], len(rows) - SHOWN_ROWS


def _charts(days: list[Day], tallest: int) -> dict[str, list[dict[str, Any]]]:
    """Currency -> the two bars of each day, with their heights in percent of the tallest bar."""
    charts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for day in days:
        heights = (100 * max(micros, 0) / tallest for micros in (day.revenue_micros, day.cost_micros))
        charts[day.currency].append({"day": day, "heights": list(heights)})
    return dict(charts)


def _entries(period: Period) -> QuerySet[UsageEntry]:
    start, end = period.bounds
    return UsageEntry.objects.filter(SETTLED, is_test=False, created_at__gte=start, created_at__lt=end)


def _rows(period: Period, name: str | None, group: Any) -> list[Row]:
    """name: the column of Row.name, None for one row of each currency; group: its expression."""
    names = {"name": group} if name else {}
    finished = Q(billed_seconds__gt=0, render_id__isnull=False)
    failed = Q(render_id__in=Render.objects.filter(state=State.FAILED).values("pk"))
    rows = (
        _entries(period)
        .order_by()
        .values(**names)
        .values("currency", *names)
        .annotate(
            finished=Count("pk", filter=finished),
            failed=Count("pk", filter=failed),
            seconds=Coalesce(Sum("billed_seconds"), 0),
            revenue_micros=Coalesce(Sum("amount_micros"), 0),
            gpu=Coalesce(Sum("gpu_seconds"), 0.0),
            cost=Coalesce(Sum("cost_micros"), 0),
        )
        .order_by(*names, "currency")
    )
    return [
        Row(
            name=row.get("name") or "adjustments",
            currency=row["currency"],
            finished=row["finished"],
            failed=row["failed"],
            seconds=row["seconds"],
            revenue_micros=row["revenue_micros"],
            gpu_seconds=row["gpu"],
            cost_micros=row["cost"],
        )
        for row in rows
    ]
