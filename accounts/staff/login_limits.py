"""How often a password may be tried: by account, by address and by both; counted in Postgres, for all web processes.

A try is counted before the password is looked at, so that many at once are no way around. Whoever goes on after the
limit does not make the wait longer: it ends WINDOW after the first failure.

django-axes has one limit for all three, and holds whoever comes from an address or for an account alike. Here strangers
cannot keep out those who log in daily: an account is then held only by what fails from the same address.
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
ACCOUNTS_OF_ADDRESS = 15  # for which all tries from it have failed: who tries one password for many names
FAILURES_OF_ACCOUNT = 100  # from all addresses
LATELY = timedelta(days=30)  # Since when a log-in frees an account, at that address, from the last two limits.
WINDOW_SQL = f"interval '{WINDOW.total_seconds()} seconds'"

_TAKE = f"""
INSERT INTO {FailedLogins._meta.db_table} AS known (account, address, started_at, failures)
VALUES (%s, %s, statement_timestamp(), 1)
ON CONFLICT (account, address) DO UPDATE SET
    failures = CASE WHEN known.started_at > excluded.started_at - {WINDOW_SQL}
        THEN least(known.failures + 1, {FAILURES + 1}) ELSE 1 END,
    started_at = CASE WHEN known.started_at > excluded.started_at - {WINDOW_SQL}
        THEN known.started_at ELSE excluded.started_at END
RETURNING failures, extract(epoch FROM started_at + {WINDOW_SQL} - statement_timestamp())
"""


def take(name: str, ip_address: str | None) -> int:
    """Count one try. Returns for how many seconds no more are allowed; 0: this one is."""
    account, address = _account(name), _address(ip_address)
    this = Q(account=account, address=address)
    ended = Q(started_at__lt=Now() - WINDOW) & (Q(succeeded_at=None) | Q(succeeded_at__lt=Now() - LATELY))
    FailedLogins.objects.filter(ended).exclude(this).delete()
    is_known = FailedLogins.objects.filter(this, succeeded_at__gt=Now() - LATELY).exists()
    seconds = 0 if is_known else _seconds_of_strangers(account, address)
    if seconds:
        return seconds  # And not counted: else a stranger could fill the table.
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [account, address])
        failures, seconds_left = cursor.fetchone()
    return _at_least_one(seconds_left) if failures > FAILURES else 0


def _seconds_of_strangers(account: str, address: str) -> int:
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
    """The try that was counted last was no failure."""
    rows = FailedLogins.objects.filter(account=_account(name), address=_address(ip_address))
    rows.update(failures=0, succeeded_at=Now())


def _account(name: str) -> str:
    # As Django's form takes it; hashed, because people type their passwords there.
    plain = unicodedata.normalize("NFKC", name[:1000].strip()).strip().casefold()
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()


def _address(ip_address: str | None) -> str:
    address = parse_address(ip_address or "")
    if address is None:
        return ""
    if address.version == 4:
        return str(address)
    # A customer of a provider has as many addresses as there are in it.
    return str(ipaddress.ip_network((address, 64), strict=False))
