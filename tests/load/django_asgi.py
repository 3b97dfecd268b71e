"""Django's own ASGI handler, with nothing around it, to compare with."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()
