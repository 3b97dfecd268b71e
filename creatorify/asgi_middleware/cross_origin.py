"""Lets a web page of any other site send a file to an upload's URL, and read the response, errors too.

Like the media links, the URL cannot be guessed and no cookie counts, so nothing is opened by this.
"""

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

from creatorify.asgi_middleware.responses import response_start
from creatorify.asgi_middleware.routes import UPLOAD

# The preflight request (Fetch Standard, 3.2.2) may name any header.
HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"PUT, OPTIONS"),
    (b"access-control-allow-headers", b"Content-Type, *"),
    (b"access-control-expose-headers", b"Request-Id, Retry-After"),
    (b"access-control-max-age", b"7200"),
]
_NAMES = {name for name, _ in HEADERS}


class CrossOriginUploads:
    """ASGI middleware. It is the outermost one, so that responses of every other layer get the headers."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_with_headers(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                others = [(name, value) for name, value in message["headers"] if name not in _NAMES]
                message = response_start(message["status"], [*others, *HEADERS])
            await send(message)

        is_upload = scope["type"] == "http" and UPLOAD.fullmatch(scope["path"])
        await self._application(scope, receive, send_with_headers if is_upload else send)
