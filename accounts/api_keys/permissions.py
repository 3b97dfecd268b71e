"""Require the scope of an endpoint from the API key of a request."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.errors import ServiceError
from accounts.models import ApiKey

if TYPE_CHECKING:
    # Importing it at run time would be a cycle: rest_framework.views imports this module by its name in the settings.
    from rest_framework.views import APIView


class HasScope(BasePermission):
    """Requires an API key with the scope that the view's `required_scopes` has for the action.

    An action without an entry there is refused, so that a forgotten entry opens nothing. OPTIONS describes a view and
    requires any one of the view's scopes, unless `required_scopes` has an entry for `metadata`.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.auth, ApiKey):
            return False
        if request.method != "OPTIONS" and not hasattr(view, (request.method or "").lower()):
            return True  # The view does nothing: it answers 405.
        scopes: dict[str, str] = getattr(view, "required_scopes", {})
        action = getattr(view, "action", None)
        # To describe a view, DRF calls this again for each method, with that method in the request.
        if (request.method == "OPTIONS" or action == "metadata") and "metadata" not in scopes:
            sufficient = set(scopes.values())
        else:
            sufficient = {scopes[action]} if action in scopes else set()
        if not sufficient.intersection(request.auth.scopes):
            names = " or ".join(sorted(sufficient))
            missing = f"the scope {names}" if sufficient else "a scope: none opens this"
            raise ServiceError("insufficient_scope", f"This API key lacks {missing}.")
        return True
