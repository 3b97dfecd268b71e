"""Count each tenant's requests per minute. The counts are in Postgres, which all web processes share.

A window is one minute of the clock. There is one row per tenant and policy; a request is one statement.
"""

from dataclasses import dataclass
from math import ceil

from django.db import connection

from accounts.models import RequestWindow, Tenant

WINDOW_SECONDS = 60

_COUNT_REQUEST = f"""
INSERT INTO {RequestWindow._meta.db_table} AS known (tenant_id, policy, started_at, count)
VALUES (%s, %s, date_trunc('minute', statement_timestamp()), 1)
ON CONFLICT (tenant_id, policy) DO UPDATE SET
    count = CASE WHEN known.started_at = excluded.started_at THEN known.count + 1 ELSE 1 END,
    started_at = excluded.started_at
RETURNING count, extract(epoch FROM started_at + interval '1 minute' - statement_timestamp())
"""


@dataclass(frozen=True)
class Window:
    """A tenant's current minute under one policy, this request included."""

    policy: str  # `create`: requests that start a render; `read`: all others
    limit: int
    count: int
    seconds_left: int  # until the next window

    @property
    def allowed(self) -> bool:
        return self.count <= self.limit

    @property
    def remaining(self) -> int:
        return max(self.limit - self.count, 0)


def limits(tenant: Tenant) -> dict[str, int]:
    """Requests per minute, by policy."""
    return {"create": tenant.plan.creates_per_minute, "read": tenant.plan.requests_per_minute}


def count_request(tenant: Tenant, policy: str) -> Window:
    """Count one request, even if the limit is reached already."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_REQUEST, [tenant.pk, policy])
        count, seconds_left = cursor.fetchone()
    return Window(policy, limits(tenant)[policy], count, max(ceil(seconds_left), 1))
