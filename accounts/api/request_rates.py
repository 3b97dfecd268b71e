"""Requests a minute, counted in Postgres: the web server's processes have no memory in common.

A fixed window of the clock's minute: one row a tenant and policy, one statement a request.
"""

from dataclasses import dataclass
from math import ceil

from django.db import connection

from accounts.models import RequestWindow, Tenant

WINDOW_SECONDS = 60

_TAKE = f"""
INSERT INTO {RequestWindow._meta.db_table} AS known (tenant_id, policy, started_at, count)
VALUES (%s, %s, date_trunc('minute', statement_timestamp()), 1)
ON CONFLICT (tenant_id, policy) DO UPDATE SET
    count = CASE WHEN known.started_at = excluded.started_at THEN known.count + 1 ELSE 1 END,
    started_at = excluded.started_at
RETURNING count, extract(epoch FROM started_at + interval '1 minute' - statement_timestamp())
"""


@dataclass(frozen=True)
class Window:
    policy: str  # create: starts a render; read: everything else
    limit: int
    taken: int
    seconds_left: int  # until the next window

    @property
    def allowed(self) -> bool:
        return self.taken <= self.limit

    @property
    def remaining(self) -> int:
        return max(self.limit - self.taken, 0)


def limits(tenant: Tenant) -> dict[str, int]:
    return {"create": tenant.plan.creates_per_minute, "read": tenant.plan.requests_per_minute}


def take(tenant: Tenant, policy: str) -> Window:
    """Count one request, also one that is refused."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [tenant.pk, policy])
        taken, seconds_left = cursor.fetchone()
    return Window(policy, limits(tenant)[policy], taken, max(ceil(seconds_left), 1))
