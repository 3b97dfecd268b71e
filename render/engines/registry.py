"""Which engines this installation has."""

from functools import cache
from importlib import import_module

from django.conf import settings

from accounts.errors import ServiceError
from render.engines.base import Engine


def names() -> list[str]:
    return list(settings.RENDER_ENGINES)


def require(name: str) -> None:
    """Raises ServiceError `engine_unavailable` for an engine that no node here can run."""
    if name not in settings.RENDER_ENGINES:
        raise ServiceError("engine_unavailable", f"The engine {name} is not available here.", param="parameters.engine")


def queue_of(name: str) -> str:
    queue: str = settings.RENDER_ENGINES[name]["queue"]
    return queue


@cache
def _load(path: str) -> Engine:
    # Imported on first use: the web process lists engines and must not load what they need.
    module, _, name = path.rpartition(".")
    engine: Engine = getattr(import_module(module), name)()
    return engine


def get(name: str) -> Engine:
    return _load(settings.RENDER_ENGINES[name]["class"])
