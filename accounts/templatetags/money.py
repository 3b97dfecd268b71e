"""`{{ amount|micros:currency }}` in templates."""

from django import template

from accounts.money import format_micros

register = template.Library()


@register.filter
def micros(value: int | None, currency: str = "") -> str:
    """Format an amount as `accounts.money.format_micros` does; None is 0."""
    return format_micros(value or 0, currency)
