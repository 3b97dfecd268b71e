"""Django's middleware of this service. The layers outside Django are in `creatorify.asgi_middleware`."""
