"""The only writer of the audit log."""

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
    """Write down one deed, in the transaction that does it. Who did it is the request's user, or the API key."""
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
    return f"{row._meta.model_name} {row.pk}"


def ip_address_of(request: Any) -> str | None:
    """The client's address; None if it is unknown.

    Of X-Forwarded-For count as many hops as we have proxies (NUM_PROXIES): the last of them is what our outermost proxy
    has seen. What a client has written itself stands before it. Without proxies the header says nothing.
    """
    num_proxies = api_settings.NUM_PROXIES or 0
    hops = [hop for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    seen = hops[-min(num_proxies, len(hops))] if num_proxies and hops else request.META.get("REMOTE_ADDR", "")
    address = networks.parse_address(seen)
    return None if address is None else str(address)
