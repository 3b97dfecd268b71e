"""Authenticate a request by its API key, in `X-API-Key` or `Authorization: Bearer`."""

from datetime import timedelta

from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from accounts import audit
from accounts.api_keys import keys
from accounts.models import ApiKey

LAST_USED_PRECISION = timedelta(minutes=1)  # So a busy key's row is not written at every request.


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to the ApiKey. There is no `request.user`: a key belongs to a tenant, not to a person."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        authorization = get_authorization_header(request).decode("latin-1")
        plain = presented_key(request.headers.get("X-API-Key", ""), authorization)
        if not plain:
            return None
        key = keys.authenticate(plain, ip_address=audit.ip_address_of(request))
        if key.last_used_at is None or key.last_used_at < timezone.now() - LAST_USED_PRECISION:
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())
        request._request.is_of_tenant = True  # type: ignore[attr-defined]  # For the log: all of these are written.
        return None, key

    def authenticate_header(self, request: Request) -> str:
        return 'ApiKey realm="api"'


def presented_key(x_api_key: str, authorization: str) -> str:
    """Return the plain key from the values of these two headers; empty if there is none."""
    scheme, _, token = authorization.partition(" ")
    return x_api_key or (token.strip() if scheme.lower() == "bearer" else "")
