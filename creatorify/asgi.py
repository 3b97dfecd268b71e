"""The web application: layers around Django that keep one client from stopping the others.

Django's ASGI handler serves what stays open for long, its synchronous handler everything else.
"""

import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")
_handler = get_wsgi_application()
_asynchronous_handler = get_asgi_application()

# Their settings are there only now.
from django.conf import settings  # noqa: E402

from creatorify.asgi_middleware.asgi import Receive, Scope, Send  # noqa: E402
from creatorify.asgi_middleware.client_limits import ClientLimits  # noqa: E402
from creatorify.asgi_middleware.cross_origin import CrossOriginUploads  # noqa: E402
from creatorify.asgi_middleware.django_requests import DjangoRequests  # noqa: E402
from creatorify.asgi_middleware.long_poll import LongPoll  # noqa: E402
from creatorify.asgi_middleware.routes import EVENTS  # noqa: E402
from creatorify.asgi_middleware.stream_limit import StreamLimit  # noqa: E402
from creatorify.asgi_middleware.upload_receiver import UploadReceiver  # noqa: E402

MEDIA_THREADS = 4
# One for each connection to the database; without a pool each thread keeps a connection of its own.
_threads = settings.DATABASE_POOL_SIZE or 10
_ordinary = LongPoll(DjangoRequests(_handler, threads=_threads))
# Of their own: a disk of the network that hangs stops the videos on it, and not the API.
_media = DjangoRequests(_handler, threads=MEDIA_THREADS)


async def _route(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope.get("path", "")
    if scope["type"] != "http" or EVENTS.fullmatch(path):
        await _asynchronous_handler(scope, receive, send)
    elif path.startswith(settings.MEDIA_URL):
        await _media(scope, receive, send)
    else:
        await _ordinary(scope, receive, send)


application = CrossOriginUploads(ClientLimits(StreamLimit(UploadReceiver(_route))))
