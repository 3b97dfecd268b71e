import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")
_django = get_asgi_application()

from creatorify.body_limit import BodyLimit  # noqa: E402  # Its settings are there only now.

application = BodyLimit(_django)
