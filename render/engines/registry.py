"""The engines of this installation, as the setting RENDER_ENGINES names them."""

from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings

from accounts.errors import ServiceError
from render.engines.base import Engine, EngineStatus
from render.parameters import TRANSPARENT


def names() -> list[str]:
    return list(settings.RENDER_ENGINES)


def require(name: str) -> None:
    """Raise ServiceError `engine_unavailable` for an engine that is not installed."""
    if name not in settings.RENDER_ENGINES:
        raise ServiceError("engine_unavailable", f"The engine {name} is not available here.", param="parameters.engine")


def require_known(name: str) -> None:
    """The same for a request that another engine will serve, such as one of a test key: an engine that this version
    knows is accepted even if it is not installed.
    """
    if name not in settings.KNOWN_ENGINES:
        require(name)


def queue_of(name: str) -> str:
    """The queue whose nodes have this engine."""
    queue: str = settings.RENDER_ENGINES[name]["queue"]
    return queue


def needs_face(name: str) -> bool:
    """Whether the engine refuses a source in which no face is found."""
    return bool(settings.RENDER_ENGINES[name].get("needs_face", False))


def require_background(name: str, background: str) -> None:
    """Raise ServiceError `background_unavailable` for a transparent video from an engine that has none.

    In a final video heads and hands move freely, and parts of the room come and go at their edges.
    """
    if background == TRANSPARENT and not settings.RENDER_ENGINES[name].get("transparent", False):
        detail = (
            f"The engine {name} makes no transparent videos, only the draft does. Give a color as background, such as "
            "#00b140, and make that color transparent in your editor."
        )
        raise ServiceError("background_unavailable", detail, param="parameters.background")


@cache
def _create(path: str, options: tuple[tuple[str, Any], ...]) -> Engine:
    # Imported on first use: web processes list the engines and must not import the engines' libraries.
    module, _, name = path.rpartition(".")
    engine: Engine = getattr(import_module(module), name)(**dict(options))
    return engine


def get(name: str) -> Engine:
    """The engine, which is created once in each process."""
    entry: dict[str, Any] = settings.RENDER_ENGINES[name]
    return _create(entry["class"], tuple(entry.get("options", {}).items()))


def statuses(queue: str) -> dict[str, EngineStatus]:
    """The state of each engine of a queue on this node, by the engine's name."""
    return {name: get(name).status() for name in names() if queue_of(name) == queue}
