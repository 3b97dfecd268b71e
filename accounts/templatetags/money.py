from decimal import Decimal

from django import template

register = template.Library()


@register.filter
def micros(value: int | None, currency: str = "") -> str:
    """Millionths as an amount: to the cent, or further where there are parts of a cent."""
    amount = Decimal(value or 0) / 1_000_000
    text = f"{amount:,.2f}" if amount == round(amount, 2) else f"{amount:,.6f}".rstrip("0")
    return f"{text} {currency}".strip()
