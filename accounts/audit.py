"""The only writer of the audit log."""

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest
from rest_framework.throttling import BaseThrottle

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
    """The client's address; of a proxy's header only as many hops as REST_FRAMEWORK["NUM_PROXIES"] says."""
    given = BaseThrottle().get_ident(request) or ""
    try:
        # Without the zone of an IPv6 address, which means something on one machine only.
        return str(ipaddress.ip_address(given.strip().partition("%")[0]))
    except ValueError:
        return None  # A header that is no address: the request has none that could be believed.
