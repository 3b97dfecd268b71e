"""Limits of what a key with `keys:admin` may do to keys, itself included: a key cannot exceed its own rights.

The endpoints that make, rotate, change and revoke keys all call these checks; the rules stand nowhere else. `caller` is
the key of the request.
"""

from collections.abc import Iterable
from datetime import datetime

from accounts import networks
from accounts.errors import ServiceError
from accounts.models import ApiKey


def lock(caller: ApiKey, target: ApiKey | None = None) -> tuple[ApiKey, ApiKey]:
    """Read the caller and the target again, locked until the transaction ends. Without a target, both are the caller.

    Raises ServiceError `key_expired` if the caller was revoked after its request began.
    """
    target = target or caller
    # Always in the order of their ids, so that two keys that rotate each other at the same time cannot deadlock.
    rows = ApiKey.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").order_by("pk")
    locked = {key.pk: key for key in rows.filter(pk__in={caller.pk, target.pk})}
    if not locked[caller.pk].is_usable:
        raise ServiceError("key_expired", "This API key has expired or was revoked.")
    return locked[caller.pk], locked[target.pk]


def require_may_manage(caller: ApiKey, key: ApiKey) -> None:
    """For changes of an existing key: it has no mode and no scope that the caller lacks.

    Raises ServiceError `insufficient_scope`.
    """
    require_mode(caller, key.mode)
    require_scopes(caller, key.scopes)


def require_mode(caller: ApiKey, mode: str) -> None:
    """Raises ServiceError `insufficient_scope`."""
    if caller.is_test and mode != ApiKey.Mode.TEST:
        raise ServiceError("insufficient_scope", "A test key can make and change test keys only.", param="mode")


def require_scopes(caller: ApiKey, scopes: Iterable[str]) -> None:
    """Raises ServiceError `insufficient_scope`."""
    missing = sorted(set(scopes) - set(caller.scopes))
    if missing:
        raise ServiceError("insufficient_scope", f"This API key lacks {', '.join(missing)}.", param="scopes")


def require_networks(caller: ApiKey, allowed_ips: list[str]) -> None:
    """An empty list means any address. Raises ServiceError `exceeds_own_key`."""
    if not caller.allowed_ips:
        return
    if not allowed_ips or not networks.are_within(allowed_ips, caller.allowed_ips):
        detail = f"The networks must be within those of the key in this request: {', '.join(caller.allowed_ips)}."
        raise ServiceError("exceeds_own_key", detail, param="allowed_ips")


def require_expiry(caller: ApiKey, expires_at: datetime | None) -> None:
    """None means never. Raises ServiceError `exceeds_own_key`.

    The limit is `own_expiry`. The end of a rotation's overlap does not count: else a rotated key could only make keys
    that end with it.
    """
    limit = caller.own_expiry
    if limit is not None and (expires_at is None or expires_at > limit):
        detail = f"The key in this request expires at {limit.isoformat()}; the new expiry cannot be later."
        raise ServiceError("exceeds_own_key", detail, param="expires_at")
