"""What a second of output costs by a plan, and whether a plan names a price for everything that can be rendered here.

A plan without prices and without a spend cap is free. Any other one must price each installed engine in each size: a
render without a price would cost nothing and pass the cap.
"""

from typing import TYPE_CHECKING, Any, TypeGuard

from django.conf import settings

from accounts.errors import ServiceError

if TYPE_CHECKING:
    from accounts.models import Plan

# Micros for one second. With it the price of a film of a hundred days still fits into the database's integers.
MAX_PRICE = 10**12
SHAPE = 'Must look like {"draft": {"480p": 15000, "720p": 30000}}: whole micros for a second of output.'


def per_second(plan: "Plan", *, engine: str, resolution: str) -> int:
    """Micros of the plan's currency for one second of output. Raises ServiceError `price_missing`."""
    if is_free(plan):
        return 0
    sizes = plan.prices.get(engine) if isinstance(plan.prices, dict) else None
    price = sizes.get(resolution) if isinstance(sizes, dict) else None
    if is_price(price):
        return price
    detail = f"This account's plan has no price for the engine {engine} in {resolution}; please ask for one."
    raise ServiceError("price_missing", detail, param="parameters.resolution" if sizes else "parameters.engine")


def is_free(plan: "Plan") -> bool:
    return not plan.prices and plan.spend_cap_micros is None


def missing(prices: Any) -> list[str]:
    """`engine size` of everything installed here that has no valid price."""
    by_engine = prices if isinstance(prices, dict) else {}
    wanted = [(engine, size) for engine in settings.RENDER_ENGINES for size in settings.RESOLUTIONS]
    found = {engine: sizes for engine, sizes in by_engine.items() if isinstance(sizes, dict)}
    return [f"{engine} {size}" for engine, size in wanted if not is_price(found.get(engine, {}).get(size))]


def faults(prices: Any) -> list[str]:
    """What is wrong with the shape of a plan's prices, in words for staff. What is missing: see `missing`."""
    if not isinstance(prices, dict):
        return [SHAPE]
    # Also those that are not installed: an engine is priced before it is installed.
    engines = list(dict.fromkeys([*settings.KNOWN_ENGINES, *settings.RENDER_ENGINES]))
    found = []
    for engine, sizes in prices.items():
        if engine not in engines:
            found.append(f"There is no engine {engine!r}; there are: {', '.join(engines)}.")
        elif not isinstance(sizes, dict):
            found.append(f"{engine}: {SHAPE}")
        else:
            found += _faults_of(engine, sizes)
    return found


def _faults_of(engine: str, sizes: dict[str, Any]) -> list[str]:
    unknown = [size for size in sizes if size not in settings.RESOLUTIONS]
    wrong = [size for size, price in sizes.items() if size in settings.RESOLUTIONS and not is_price(price)]
    return [
        *(f"{engine}: there is no size {size!r}; there are: {', '.join(settings.RESOLUTIONS)}." for size in unknown),
        *(f"{engine} {size}: a price is a whole number from 0 to {MAX_PRICE}, not {sizes[size]!r}." for size in wrong),
    ]


def is_price(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_PRICE  # A bool is an int, too.
