"""ASGI, as the modules beside this one use it: the types of an application, and a request's headers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = dict[str, Any]
Headers = list[tuple[bytes, bytes]]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def header(scope: Scope, name: bytes) -> str:
    """The value of a request's header, as Django reads it: that of several is joined. Empty when it was not sent."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
