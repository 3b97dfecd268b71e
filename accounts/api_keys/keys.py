"""Issue, check, rotate and revoke API keys.

A key is `cf_live_<8 id>_<32 secret>_<6 checksum>` or `cf_test_...`, all base62. Only its prefix (the
part up to the id) and a digest of the whole key are stored.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts import networks
from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant, default_scopes

ALPHABET = string.digits + string.ascii_letters
USABLE = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))  # `ApiKey.is_usable`, for queries
WELL_FORMED = re.compile(r"cf_(live|test)_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")


def issue(
    tenant: Tenant,
    *,
    name: str,
    mode: str = ApiKey.Mode.LIVE,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    allowed_ips: list[str] | None = None,
    legacy_200: bool = False,
    rotated_from: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Return the new row and the plain key, which cannot be read again later."""
    prefix = f"cf_{mode}_{_random(8)}"
    body = f"{prefix}_{_random(32)}"
    plain = f"{body}_{checksum(body)}"
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        mode=mode,
        prefix=prefix,
        digest=_digest(plain),
        scopes=default_scopes() if scopes is None else scopes,
        expires_at=expires_at,
        allowed_ips=allowed_ips or [],
        legacy_200=legacy_200,
        rotated_from=rotated_from,
    )
    return key, plain


@transaction.atomic
def rotate(key: ApiKey, *, overlap: timedelta, expires_at: datetime | None) -> tuple[ApiKey, str]:
    """Issue a successor with the same rights. The old key works for `overlap` more, but not beyond its own expiry.

    A client that did not receive the response may rotate again: `ApiKey.own_expiry` does not change.

    expires_at: of the successor; None: never. Raises ServiceError `invalid_state`.
    """
    key = ApiKey.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").get(pk=key.pk)
    if not key.is_usable:
        raise ServiceError("invalid_state", "This API key has expired or was revoked; make a new one.")
    successor = issue(
        key.tenant,
        name=key.name,
        mode=key.mode,
        scopes=key.scopes,
        expires_at=expires_at,
        allowed_ips=key.allowed_ips,
        legacy_200=key.legacy_200,
        rotated_from=key,
    )
    ApiKey.objects.filter(pk=key.pk, rotated_at=None).update(rotated_at=Now(), expiry_before_rotation=F("expires_at"))
    end = Now() + overlap
    ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=end), pk=key.pk).update(expires_at=end)
    return successor


def revoke(key: ApiKey) -> bool:
    """Make the key useless at once and for good. Returns False if it was revoked before."""
    return ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now()) == 1


def authenticate(plain: str, *, ip_address: str | None = None) -> ApiKey:
    """Return the key's row with its tenant and plan.

    ip_address: the client's, from `audit.ip_address_of`. Raises ServiceError `unauthenticated`, `key_expired`,
    `ip_not_allowed` or `tenant_suspended`.
    """
    prefix = prefix_of(plain)
    if prefix is None:
        raise ServiceError("unauthenticated", "This API key is not valid.")
    key = ApiKey.objects.select_related("tenant__plan").annotate(usable=USABLE).filter(prefix=prefix).first()
    # Also computed for an unknown prefix, so that the response time does not tell whether a prefix exists.
    matches = hmac.compare_digest(_digest(plain), key.digest if key else "")
    if key is None or not matches:
        raise ServiceError("unauthenticated", "This API key is not valid.")
    if not key.usable:
        raise ServiceError("key_expired", "This API key has expired or was revoked.")
    if not is_allowed_from(key, ip_address):
        raise ServiceError("ip_not_allowed", "This API key may not be used from this address.")
    if key.tenant.suspended_at is not None:  # Accepted work goes on: docs/accounts.md, "Suspended tenants".
        raise ServiceError("tenant_suspended", "This account is suspended.")
    return key


def is_allowed_from(key: ApiKey, ip_address: str | None) -> bool:
    """Whether the key's networks contain this address, which comes from `audit.ip_address_of`."""
    return not key.allowed_ips or networks.is_in(networks.parse_address(ip_address or ""), key.allowed_ips)


def still_usable(key_ids: Iterable[UUID]) -> dict[UUID, ApiKey]:
    """Return those of the keys that are usable now, read anew in one query. Those of a suspended tenant are not."""
    return ApiKey.objects.filter(USABLE, tenant__suspended_at=None).in_bulk(list(key_ids))


def prefix_of(plain: str) -> str | None:
    """Return the part of a plain key that may be shown. None if the text does not look like a key."""
    return "_".join(plain.split("_")[:3]) if WELL_FORMED.fullmatch(plain) else None


def tenant_id_of(prefix: str) -> UUID | None:
    """Return the tenant of the key with this prefix, also if the key is expired or revoked."""
    return ApiKey.objects.filter(prefix=prefix).values_list("tenant", flat=True).first()


def checksum(body: str) -> str:
    """Six base62 characters by which a client or a secret scanner recognizes a mistyped key without asking us."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
