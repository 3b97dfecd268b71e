"""Limit wrong passwords per account, per address and per pair of both. The counts are in Postgres, for all processes.

A try is counted before its password is checked, so that many tries at the same time cannot pass the limit. Tries after
the limit do not prolong the wait: it ends WINDOW after the first failure.

django-axes has one limit for all three, so strangers can lock an account for its owner. Here they cannot: where the
account has logged in from the same address in the last 30 days (LATELY), only failures of this pair count.
"""

import hashlib
import ipaddress
import unicodedata
from datetime import timedelta
from math import ceil

from django.db import connection
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import FailedLogins
from accounts.networks import parse_address

WINDOW = timedelta(minutes=15)
FAILURES = 10  # for one account from one address
ACCOUNTS_OF_ADDRESS = 15  # accounts with failures only, from one address: one password tried for many names
FAILURES_OF_ACCOUNT = 100  # for one account from all addresses
LATELY = timedelta(days=30)  # A log-in within this time exempts the account, at that address, from the last two limits.
WINDOW_SQL = f"interval '{WINDOW.total_seconds()} seconds'"

_COUNT_TRY = f"""
INSERT INTO {FailedLogins._meta.db_table} AS known (account, address, started_at, failures)
VALUES (%s, %s, statement_timestamp(), 1)
ON CONFLICT (account, address) DO UPDATE SET
    failures = CASE WHEN known.started_at > excluded.started_at - {WINDOW_SQL}
        THEN least(known.failures + 1, {FAILURES + 1}) ELSE 1 END,
    started_at = CASE WHEN known.started_at > excluded.started_at - {WINDOW_SQL}
        THEN known.started_at ELSE excluded.started_at END
RETURNING failures, extract(epoch FROM started_at + {WINDOW_SQL} - statement_timestamp())
"""


def count_try(name: str, ip_address: str | None) -> int:
    """Count one try. Return 0 if it is allowed, else the seconds until the next one is.

    ip_address: from `audit.ip_address_of`.
    """
    account, address = _account(name), _address(ip_address)
    this = Q(account=account, address=address)
    expired = Q(started_at__lt=Now() - WINDOW) & (Q(succeeded_at=None) | Q(succeeded_at__lt=Now() - LATELY))
    FailedLogins.objects.filter(expired).exclude(this).delete()
    is_known = FailedLogins.objects.filter(this, succeeded_at__gt=Now() - LATELY).exists()
    seconds = 0 if is_known else _seconds_for_strangers(account, address)
    if seconds:
        return seconds  # Not counted, so that strangers cannot fill the table.
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_TRY, [account, address])
        failures, seconds_left = cursor.fetchone()
    return _at_least_one(seconds_left) if failures > FAILURES else 0


def _seconds_for_strangers(account: str, address: str) -> int:
    """Apply the two limits for pairs without a recent log-in. Return the seconds to wait; 0: none."""
    rows = FailedLogins.objects.filter(started_at__gt=Now() - WINDOW, failures__gt=0)
    others = rows.filter(address=address).exclude(account=account)
    same = rows.filter(account=account)
    if others.count() >= ACCOUNTS_OF_ADDRESS:
        return _until_end_of(others)
    if (same.aggregate(number=Sum("failures"))["number"] or 0) >= FAILURES_OF_ACCOUNT:
        return _until_end_of(same)
    return 0


def _until_end_of(rows: QuerySet[FailedLogins]) -> int:
    oldest = rows.order_by("started_at").values_list("started_at", flat=True).first() or timezone.now()
    return _at_least_one((oldest + WINDOW - timezone.now()).total_seconds())


def _at_least_one(seconds: float) -> int:
    return max(ceil(seconds), 1)


def succeeded(name: str, ip_address: str | None) -> None:
    """Reset the pair's failures after a successful log-in."""
    rows = FailedLogins.objects.filter(account=_account(name), address=_address(ip_address))
    rows.update(failures=0, succeeded_at=Now())


def _account(name: str) -> str:
    # Normalized as Django's form does. Hashed, because people sometimes type their password into this field.
    plain = unicodedata.normalize("NFKC", name[:1000].strip()).strip().casefold()
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()


def _address(ip_address: str | None) -> str:
    address = parse_address(ip_address or "")
    if address is None:
        return ""
    if address.version == 4:
        return str(address)
    # Providers give each customer a /64 network or more, so single IPv6 addresses mean nothing.
    return str(ipaddress.ip_network((address, 64), strict=False))
