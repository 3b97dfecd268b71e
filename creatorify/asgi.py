import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")
_django = get_asgi_application()

# Their settings are there only now.
from django.conf import settings  # noqa: E402

from creatorify.body_limit import BodyLimit  # noqa: E402
from creatorify.prefer_wait import PreferWait  # noqa: E402
from creatorify.request_threads import RequestThreads  # noqa: E402
from creatorify.upload_receiver import UploadReceiver  # noqa: E402

application = UploadReceiver(BodyLimit(PreferWait(RequestThreads(_django, number=settings.DATABASE_POOL_SIZE))))
