"""The web application: Django, and the layers around it that keep one client from stopping the others.

Django's asynchronous handler serves event streams, which stay open for long; its synchronous one every other request.
"""

import os
from typing import cast

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")
_synchronous_handler = get_wsgi_application()
_asynchronous_handler = cast(ASGI3Application, get_asgi_application())

# The following modules need the settings, which are there only now.
from django.conf import settings  # noqa: E402

from creatorify.asgi_middleware.client_limits import ClientLimits  # noqa: E402
from creatorify.asgi_middleware.cross_origin import CrossOriginUploads  # noqa: E402
from creatorify.asgi_middleware.django_requests import DjangoRequests  # noqa: E402
from creatorify.asgi_middleware.long_poll import LongPoll  # noqa: E402
from creatorify.asgi_middleware.routes import EVENTS  # noqa: E402
from creatorify.asgi_middleware.stream_limit import StreamLimit  # noqa: E402
from creatorify.asgi_middleware.upload_receiver import UploadReceiver  # noqa: E402

MEDIA_THREADS = 4
# One thread for each connection of the pool; without a pool each thread keeps a connection of its own.
_threads = settings.DATABASE_POOL_SIZE or 10
_ordinary = LongPoll(DjangoRequests(_synchronous_handler, threads=_threads))
# Media have threads of their own: if a network disk hangs, the videos on it stop, and the API does not.
_media = DjangoRequests(_synchronous_handler, threads=MEDIA_THREADS)


async def _route(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    if scope["type"] != "http" or EVENTS.fullmatch(scope["path"]):
        await _asynchronous_handler(scope, receive, send)
    elif scope["path"].startswith(settings.MEDIA_URL):
        await _media(scope, receive, send)
    else:
        await _ordinary(scope, receive, send)


application = CrossOriginUploads(ClientLimits(StreamLimit(UploadReceiver(_route))))
