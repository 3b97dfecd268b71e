"""What a key with `keys:admin` may do to keys, itself included: never more than it could do itself.

The only place where that is decided. Making, replacing, changing and revoking a key through the API come through here.
"""

from collections.abc import Iterable
from datetime import datetime

from accounts import networks
from accounts.errors import ServiceError
from accounts.models import ApiKey


def lock(asking: ApiKey, target: ApiKey | None = None) -> tuple[ApiKey, ApiKey]:
    """Read the asking key and the key in question again, and keep both as they are until the transaction ends.

    Without a target the second one is the asking key, too. Raises ServiceError `key_expired` when the asking key was
    revoked since its request began.
    """
    wanted = {asking.pk, target.pk if target else asking.pk}
    # In one order, whoever asks: two keys that replace each other must not wait for one another.
    rows = ApiKey.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").order_by("pk")
    found = {key.pk: key for key in rows.filter(pk__in=wanted)}
    now = found[asking.pk]
    if not now.is_usable:
        raise ServiceError("key_expired", "This API key has expired or was revoked.")
    return now, found[target.pk if target else asking.pk]


def require_may_touch(asking: ApiKey, key: ApiKey) -> None:
    """Raises ServiceError `insufficient_scope`. A key within reach may be renamed, replaced and revoked."""
    require_mode(asking, key.mode)
    require_scopes(asking, key.scopes)


def require_mode(asking: ApiKey, mode: str) -> None:
    if asking.is_test and mode != ApiKey.Mode.TEST:
        raise ServiceError("insufficient_scope", "A test key can make and change test keys only.", param="mode")


def require_scopes(asking: ApiKey, scopes: Iterable[str]) -> None:
    missing = sorted(set(scopes) - set(asking.scopes))
    if missing:
        raise ServiceError("insufficient_scope", f"This API key lacks {', '.join(missing)}.", param="scopes")


def require_networks(asking: ApiKey, allowed_ips: list[str]) -> None:
    """No networks mean that a key may be used from anywhere. Raises ServiceError `exceeds_own_key`."""
    if not asking.allowed_ips:
        return
    if not allowed_ips or not networks.are_within(allowed_ips, asking.allowed_ips):
        detail = f"The networks must lie within those of the key that asks: {', '.join(asking.allowed_ips)}."
        raise ServiceError("exceeds_own_key", detail, param="allowed_ips")


def require_expiry(asking: ApiKey, expires_at: datetime | None) -> None:
    """None means never. Raises ServiceError `exceeds_own_key`.

    The end of an overlap is no bound: else a key that was rotated could only give what ends with it.
    """
    bound = asking.own_expiry
    if bound is not None and (expires_at is None or expires_at > bound):
        detail = f"The key that asks expires at {bound.isoformat()}; no other may last longer."
        raise ServiceError("exceeds_own_key", detail, param="expires_at")
