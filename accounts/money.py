"""Amounts of money. The database and the API keep them in micros: millionths of a currency unit, as whole numbers."""

from decimal import Decimal

MICROS_PER_UNIT = 1_000_000


def to_units(micros: int) -> Decimal:
    return Decimal(micros) / MICROS_PER_UNIT


def format_micros(micros: int, currency: str = "") -> str:
    """Return for example `1,234.50 USD`: two decimals, or up to six where there are fractions of a cent."""
    amount = to_units(micros)
    text = f"{amount:,.2f}" if amount == round(amount, 2) else f"{amount:,.6f}".rstrip("0")
    return f"{text} {currency}".strip()
