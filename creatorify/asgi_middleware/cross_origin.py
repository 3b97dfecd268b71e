"""Lets a web page of any other site send a file to an upload's address, and read what is answered, errors too."""

from creatorify.asgi_middleware.asgi import Application, Message, Receive, Scope, Send
from creatorify.asgi_middleware.routes import UPLOAD
from projects.assets.upload_view import CROSS_ORIGIN

_HEADERS = [(name.lower().encode(), value.encode()) for name, value in CROSS_ORIGIN.items()]
_NAMES = {name for name, _ in _HEADERS}


class CrossOriginUploads:
    """ASGI middleware, the outermost: an answer of each layer below it gets the headers."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [(name, value) for name, value in message["headers"] if name not in _NAMES]
                message = {**message, "headers": [*others, *_HEADERS]}
            await send(message)

        is_upload = scope["type"] == "http" and UPLOAD.fullmatch(scope["path"])
        await self._application(scope, receive, answer if is_upload else send)
