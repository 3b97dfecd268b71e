"""Write the audit log. No other module adds rows to it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest
from rest_framework.settings import api_settings

from accounts import networks
from accounts.models import ApiKey, AuditEntry, Tenant


def record(
    action: str,
    target: Model,
    *,
    request: HttpRequest | None = None,
    api_key: ApiKey | None = None,
    tenant: Tenant | None = None,
    reason: str = "",
    details: Mapping[str, Any] = MappingProxyType({}),
) -> AuditEntry:
    """Add one entry. Call it in the transaction of the action, so that both are saved or neither.

    action: `<kind>.<verb>`, such as `key.revoked`. target: the row acted on. The actor is the request's user (staff) or
    `api_key`.
    """
    user = getattr(request, "user", None)
    return AuditEntry.objects.create(
        actor=user if isinstance(user, User) else None,
        api_key=api_key,
        tenant=tenant,
        action=action,
        target=target_of(target),
        reason=reason,
        details=dict(details),
        ip_address=ip_address_of(request) if request is not None else None,
    )


def target_of(row: Model) -> str:
    """How `AuditEntry.target` names a row: kind and id."""
    return f"{row._meta.model_name} {row.pk}"


def ip_address_of(request: Any) -> str | None:
    """The client's address; None if it is unknown.

    X-Forwarded-For counts only for as many hops as there are proxies of ours (NUM_PROXIES). The hop that far from the
    end was written by our outermost proxy; anything before it comes from the client and may be invented. Without
    proxies of ours the header is ignored.
    """
    num_proxies = api_settings.NUM_PROXIES or 0
    hops = [hop for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    client = hops[-min(num_proxies, len(hops))] if num_proxies and hops else request.META.get("REMOTE_ADDR", "")
    address = networks.parse_address(client)
    return None if address is None else str(address)
