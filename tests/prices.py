"""Prices of a plan for the tests: each engine that is or could be installed has one in each size, as it must."""

from django.conf import settings

Prices = dict[str, dict[str, int]]


def full_prices(**known: dict[str, int]) -> Prices:
    """known: of an engine, by size. Everything else is free."""
    free = dict.fromkeys(settings.RESOLUTIONS, 0)
    return {engine: {**free, **known.get(engine, {})} for engine in {*settings.RENDER_ENGINES, *settings.KNOWN_ENGINES}}
