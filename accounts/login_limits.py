"""How often a password may be tried: by account, by address and by both; counted in Postgres, for all web processes.

A try is counted before the password is looked at, so that many at once are no way around. Whoever goes on after the
limit does not make the wait longer: it ends WINDOW after the first failure.

django-axes has one limit for all three. But few tries for one account from one address must do, while behind one
address there may be a whole office; and strangers who try from everywhere must not keep out those who log in daily.
"""

import hashlib
import ipaddress
import unicodedata
from datetime import timedelta
from math import ceil

from django.db import connection
from django.db.models import Q, Sum
from django.db.models.functions import Coalesce, Now

from accounts.models import FailedLogins
from accounts.networks import parse_address

WINDOW = timedelta(minutes=15)
FAILURES = 10  # for one account from one address
FAILURES_OF_ADDRESS = 200  # for all accounts
FAILURES_OF_ACCOUNT = 100  # from all addresses but those from which it was logged in to lately
LATELY = timedelta(days=30)
WINDOW_SQL = f"interval '{WINDOW.total_seconds()} seconds'"

_TAKE = f"""
INSERT INTO {FailedLogins._meta.db_table} AS known (account, address, started_at, failures)
VALUES (%s, %s, statement_timestamp(), 1)
ON CONFLICT (account, address) DO UPDATE SET
    failures = CASE WHEN known.started_at > excluded.started_at - {WINDOW_SQL}
        THEN least(known.failures + 1, {FAILURES + 1}) ELSE 1 END,
    started_at = CASE WHEN known.started_at > excluded.started_at - {WINDOW_SQL}
        THEN known.started_at ELSE excluded.started_at END
RETURNING failures, coalesce(succeeded_at > statement_timestamp() - interval '{LATELY.days} days', false),
    extract(epoch FROM started_at + {WINDOW_SQL} - statement_timestamp())
"""


def take(name: str, ip_address: str | None) -> int:
    """Count one try. Returns for how many seconds no more are allowed; 0: this one is."""
    account, address = _account(name), _address(ip_address)
    ended = Q(started_at__lt=Now() - WINDOW) & (Q(succeeded_at=None) | Q(succeeded_at__lt=Now() - LATELY))
    FailedLogins.objects.filter(ended).exclude(account=account, address=address).delete()
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [account, address])
        failures, is_known, seconds_left = cursor.fetchone()
    here, everywhere = Q(address=address), Q(account=account)
    rows = FailedLogins.objects.filter(here | everywhere, started_at__gt=Now() - WINDOW)
    sums = rows.aggregate(
        here=Coalesce(Sum("failures", filter=here), 0), everywhere=Coalesce(Sum("failures", filter=everywhere), 0)
    )
    is_over = (
        failures > FAILURES
        or sums["here"] > FAILURES_OF_ADDRESS
        or (sums["everywhere"] > FAILURES_OF_ACCOUNT and not is_known)
    )
    return max(ceil(seconds_left), 1) if is_over else 0


def succeeded(name: str, ip_address: str | None) -> None:
    """The try that was counted last was no failure."""
    rows = FailedLogins.objects.filter(account=_account(name), address=_address(ip_address))
    rows.update(failures=0, succeeded_at=Now())


def _account(name: str) -> str:
    # As Django's form takes it; hashed, because people type their passwords there.
    plain = unicodedata.normalize("NFKC", name.strip()).strip().casefold()
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()


def _address(ip_address: str | None) -> str:
    address = parse_address(ip_address or "")
    if address is None:
        return ""
    if address.version == 4:
        return str(address)
    # A customer of a provider has as many addresses as there are in it.
    return str(ipaddress.ip_network((address, 64), strict=False))
