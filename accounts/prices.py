"""Prices of a plan: of one second of video, and whether every engine and size installed here has one.

A plan without prices and without a spend cap is free. Any other plan must price every installed engine in every size,
because a render without a price would cost nothing and so would pass the spend cap. Prices of upscaling are optional:
what has none is not sold on the plan.
"""

from typing import TYPE_CHECKING, Any, TypeGuard

from django.conf import settings

from accounts.errors import ServiceError

if TYPE_CHECKING:
    from accounts.models import Plan

MAX_PRICE = 10**12  # micros per second: with it, the amount for 100 days of video still fits into a BigIntegerField
UPSCALE = "upscale"  # beside the engines: by `parameters.upscale`, added to the engine's price
SHAPE = 'Must look like {"draft": {"480p": 15000, "720p": 30000}}: whole micros per second of video.'


def per_second(plan: "Plan", *, engine: str, resolution: str, upscale: str = "none") -> int:
    """Micros of the plan's currency for one second of video, upscaling included. Raises ServiceError `price_missing`.

    upscale: `none`, or one of `settings.UPSCALES`.
    """
    if is_free(plan):
        return 0
    sizes = plan.prices.get(engine) if isinstance(plan.prices, dict) else None
    price = _price(sizes, resolution)
    if price is None:
        detail = f"This account's plan has no price for the engine {engine} in {resolution}. Please ask us for one."
        raise ServiceError("price_missing", detail, param="parameters.resolution" if sizes else "parameters.engine")
    if upscale == "none":
        return price
    more = _price(plan.prices.get(UPSCALE), upscale)
    if more is None:
        detail = f"This account's plan has no price for upscaling to {upscale}. Please ask us for one, or use none."
        raise ServiceError("price_missing", detail, param="parameters.upscale")
    return price + more


def _price(sizes: object, size: str) -> int | None:
    price = sizes.get(size) if isinstance(sizes, dict) else None
    return price if is_price(price) else None


def is_free(plan: "Plan") -> bool:
    return not plan.prices and plan.spend_cap_micros is None


def missing(plan: "Plan") -> list[str]:
    """`engine size` for each installed engine and size without a valid price; empty for a free plan.

    Upscaling is not among them: its prices are optional.
    """
    if is_free(plan):
        return []
    prices = plan.prices if isinstance(plan.prices, dict) else {}
    return [
        f"{engine} {size}"
        for engine in settings.RENDER_ENGINES
        for size in settings.RESOLUTIONS
        if _price(prices.get(engine), size) is None
    ]


def shape_errors(prices: Any) -> list[str]:
    """What is wrong with the shape of `Plan.prices`, as sentences for staff. It does not look for missing prices."""
    if not isinstance(prices, dict):
        return [SHAPE]
    # Engines that are not installed are allowed: an engine gets its price before it is installed.
    engines = list(dict.fromkeys([*settings.KNOWN_ENGINES, *settings.RENDER_ENGINES]))
    errors = []
    for engine, sizes in prices.items():
        if engine not in [*engines, UPSCALE]:
            errors.append(f"There is no engine {engine!r}; there are: {', '.join(engines)}; beside them: {UPSCALE}.")
        elif not isinstance(sizes, dict):
            errors.append(f"{engine}: {SHAPE}")
        else:
            errors += _size_errors(engine, sizes)
    return errors


def _size_errors(engine: str, sizes: dict[str, Any]) -> list[str]:
    errors, known = [], settings.UPSCALES if engine == UPSCALE else settings.RESOLUTIONS
    for size, price in sizes.items():
        if size not in known:
            errors.append(f"{engine}: there is no size {size!r}; there are: {', '.join(known)}.")
        elif not is_price(price):
            errors.append(f"{engine} {size}: a price is a whole number from 0 to {MAX_PRICE}, not {price!r}.")
    return errors


def is_price(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_PRICE  # Not isinstance: True and False are ints, too.
