"""Usage as CSV: with columns of our own, or those of FOCUS 1.1, the FinOps Foundation's format for bills."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from accounts.billing import csv_writer
from accounts.models import Tenant, UsageEntry
from accounts.money import to_units
from accounts.periods import Period

Column = Callable[[UsageEntry], Any]

ENTRY_COLUMNS: dict[str, Column] = {
    "id": lambda row: row.pk,
    "created_at": lambda row: _time(row.created_at),
    "settled_at": lambda row: _time(row.settled_at),
    "kind": lambda row: row.kind,
    "render_id": lambda row: row.render_id or "",
    "key": lambda row: row.key_prefix,  # type: ignore[attr-defined]
    "user_id": lambda row: row.user_label,
    "engine": lambda row: row.engine,
    "resolution": lambda row: row.resolution,
    "held_seconds": lambda row: row.reserved_seconds if row.billed_seconds is None else 0,
    "billed_seconds": lambda row: row.billed_seconds or 0,
    "price_micros": lambda row: row.price_micros,
    "amount_micros": lambda row: 0 if row.billed_seconds is None else row.amount_micros,
    "currency": lambda row: row.currency,
    "reason": lambda row: row.reason,
    "upscale": lambda row: row.upscale,  # Last, for those who read columns by their number.
}


def entries_csv(rows: Iterable[UsageEntry]) -> Iterator[str]:
    """rows: from `reports.with_key_prefix`."""
    return _csv(ENTRY_COLUMNS, rows)


def focus_csv(rows: Iterable[UsageEntry], tenant: Tenant, period: Period) -> Iterator[str]:
    """rows: settled ones only, because FOCUS has no holds."""
    start, end = (_time(moment) for moment in period.bounds)
    columns: dict[str, Column] = {
        "BilledCost": _amount,
        "BillingAccountId": lambda row: tenant.pk,
        "BillingAccountName": lambda row: tenant.name,
        "BillingCurrency": lambda row: row.currency,
        "BillingPeriodEnd": lambda row: end,
        "BillingPeriodStart": lambda row: start,
        "ChargeCategory": lambda row: (
            "Usage" if row.render_id else ("Credit" if row.amount_micros < 0 else "Adjustment")
        ),
        "ChargeClass": lambda row: "" if row.render_id else "Correction",
        "ChargeDescription": lambda row: row.reason or f"{row.engine} {_size(row)}, seconds of video",
        "ChargeFrequency": lambda row: "Usage-Based" if row.render_id else "One-Time",
        "ChargePeriodEnd": lambda row: _time((row.settled_at or row.created_at) + timedelta(seconds=1)),
        "ChargePeriodStart": lambda row: _time(row.created_at),
        "ConsumedQuantity": lambda row: row.billed_seconds if row.render_id else "",
        "ConsumedUnit": lambda row: "Seconds" if row.render_id else "",
        "ContractedCost": _amount,
        "EffectiveCost": _amount,
        "InvoiceIssuerName": lambda row: "Creatorify",
        "ListCost": _amount,
        "ListUnitPrice": lambda row: to_units(row.price_micros) if row.render_id else "",
        "PricingQuantity": lambda row: row.billed_seconds if row.render_id else "",
        "PricingUnit": lambda row: "Seconds" if row.render_id else "",
        "ProviderName": lambda row: "Creatorify",
        "PublisherName": lambda row: "Creatorify",
        "ResourceId": lambda row: row.render_id or "",
        "ServiceCategory": lambda row: "AI and Machine Learning",
        "ServiceName": lambda row: "Talking-head video",
        "SkuId": lambda row: f"{row.engine}-{_size(row)}".replace(" ", "-") if row.render_id else "",
        "SubAccountId": lambda row: row.user_label,
    }
    return _csv(columns, rows)


def groups_csv(groups: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[str]:
    """groups: from `reports.grouped`; names: what they are grouped by."""
    columns = [*names, "currency", "renders", "billed_seconds", "amount_micros", "held_seconds"]
    return csv_writer.lines(columns, ([group[column] for column in columns] for group in groups))


def _csv(columns: dict[str, Column], rows: Iterable[UsageEntry]) -> Iterator[str]:
    return csv_writer.lines(columns, ([column(row) for column in columns.values()] for row in rows))


def _size(row: UsageEntry) -> str:
    return row.resolution if row.upscale == "none" else f"{row.resolution} upscale {row.upscale}"


def _amount(row: UsageEntry) -> Decimal:
    return to_units(row.amount_micros)


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""
