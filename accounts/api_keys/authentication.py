"""Who asks: the tenant behind an API key, in `X-API-Key` or `Authorization: Bearer`."""

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import audit
from accounts.api_keys import keys
from accounts.errors import ServiceError
from accounts.models import ApiKey

if TYPE_CHECKING:
    # rest_framework.views imports this module, by way of its settings.
    from rest_framework.views import APIView

LAST_USED_PRECISION = timedelta(minutes=1)  # So that a busy key does not write its row on every request.


class ApiKeyAuthentication(BaseAuthentication):
    """Puts the ApiKey into `request.auth`; there is no user behind an API request."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        authorization = get_authorization_header(request).decode("latin-1")
        plain = presented_key(request.headers.get("X-API-Key", ""), authorization)
        if not plain:
            return None
        key = keys.authenticate(plain, ip_address=audit.ip_address_of(request))
        if key.last_used_at is None or key.last_used_at < timezone.now() - LAST_USED_PRECISION:
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())
        request._request.is_of_tenant = True  # type: ignore[attr-defined]  # All its requests are logged.
        return None, key

    def authenticate_header(self, request: Request) -> str:
        return 'ApiKey realm="api"'


class HasScope(BasePermission):
    """A key is needed, and the scope that the view names for the action in `required_scopes`.

    An action without one is refused, so that nothing is open because it was forgotten. OPTIONS, which describes a view,
    needs any of the view's scopes, unless the view names one for `metadata`.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.auth, ApiKey):
            return False
        if request.method != "OPTIONS" and not hasattr(view, (request.method or "").lower()):
            return True  # Nothing is done: the answer is 405.
        scopes: dict[str, str] = getattr(view, "required_scopes", {})
        action = getattr(view, "action", None)
        # For each of the methods that OPTIONS tells of, DRF asks again with that method.
        if (request.method == "OPTIONS" or action == "metadata") and "metadata" not in scopes:
            enough = set(scopes.values())
        else:
            enough = {scopes[action]} if action in scopes else set()
        if not enough.intersection(request.auth.scopes):
            names = " or ".join(sorted(enough))
            needed = f"the scope {names}" if enough else "a scope: none opens this"
            raise ServiceError("insufficient_scope", f"This API key lacks {needed}.")
        return True


def presented_key(x_api_key: str, authorization: str) -> str:
    """The plain key in the values of these two headers; empty when there is none."""
    scheme, _, token = authorization.partition(" ")
    return x_api_key or (token.strip() if scheme.lower() == "bearer" else "")
