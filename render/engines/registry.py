"""Which engines this installation has."""

from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings

from accounts.errors import ServiceError
from render.engines.base import Engine, EngineStatus


def names() -> list[str]:
    return list(settings.RENDER_ENGINES)


def require(name: str) -> None:
    """Raises ServiceError `engine_unavailable` for an engine that no node here can run."""
    if name not in settings.RENDER_ENGINES:
        raise ServiceError("engine_unavailable", f"The engine {name} is not available here.", param="parameters.engine")


def require_known(name: str) -> None:
    """For what asks for an engine and gets another: it need not be installed. Raises ServiceError, as `require`."""
    if name not in settings.KNOWN_ENGINES:
        require(name)


def queue_of(name: str) -> str:
    queue: str = settings.RENDER_ENGINES[name]["queue"]
    return queue


@cache
def _load(path: str, options: tuple[tuple[str, Any], ...]) -> Engine:
    # Imported on first use: the web process lists engines and must not load what they need.
    module, _, name = path.rpartition(".")
    engine: Engine = getattr(import_module(module), name)(**dict(options))
    return engine


def get(name: str) -> Engine:
    entry: dict[str, Any] = settings.RENDER_ENGINES[name]
    return _load(entry["class"], tuple(entry.get("options", {}).items()))


def statuses(queue: str) -> dict[str, EngineStatus]:
    """What the engines of a queue say of themselves on this node."""
    return {name: get(name).status() for name in names() if queue_of(name) == queue}
