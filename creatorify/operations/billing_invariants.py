"""Invariants of usage: each render is billed once, at its price, and within the plan."""

from creatorify.operations.invariant import NOT_IMPORTED, TERMINAL_STATES, Invariant
from render.engines.base import FPS

BILLING_INVARIANTS = [
    Invariant(
        "one_usage_row",
        "Each render has one row of usage.",
        f"""
        SELECT r.id FROM render_render r LEFT JOIN accounts_usageentry u ON u.render_id = r.id
        WHERE {NOT_IMPORTED} GROUP BY r.id HAVING count(u.id) <> 1
        """,
    ),
    Invariant(
        "hold_ends_with_render",
        "A hold is settled when its render ends, not before.",
        f"""
        SELECT r.id FROM render_render r JOIN accounts_usageentry u ON u.render_id = r.id
        WHERE (r.state IN {TERMINAL_STATES}) <> (u.billed_seconds IS NOT NULL)
        """,
    ),
    Invariant(
        "billed_as_made",
        "A finished video is billed by the length of its segments; failed and canceled renders are not billed.",
        f"""
        SELECT r.id FROM render_render r JOIN accounts_usageentry u ON u.render_id = r.id
        LEFT JOIN LATERAL (
            SELECT sum(s.frames) AS frames FROM render_segment s WHERE s.render_id = r.id
        ) recorded ON true
        WHERE r.state IN {TERMINAL_STATES} AND {NOT_IMPORTED} AND r.work_deleted_at IS NULL AND u.billed_seconds <>
            CASE WHEN r.state = 'finished' THEN ceil(recorded.frames / {FPS}.0) ELSE 0 END
        """,
    ),
    Invariant(
        "amount_is_price",
        "An amount is seconds times price, and never more than was held.",
        """
        SELECT u.id FROM accounts_usageentry u WHERE u.render_id IS NOT NULL
        AND (u.amount_micros <> coalesce(u.billed_seconds, u.reserved_seconds) * u.price_micros
             OR u.billed_seconds > u.reserved_seconds)
        """,
    ),
    Invariant(
        "within_plan",
        "What a tenant has used and holds this month is within its plan, plus its credits.",
        """
        SELECT t.name FROM accounts_usageentry u JOIN accounts_tenant t ON t.id = u.tenant_id
        JOIN accounts_plan p ON p.id = t.plan_id
        WHERE NOT u.is_test AND u.created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
        AND u.render_id IS NOT NULL
        GROUP BY t.name, p.monthly_seconds
        HAVING sum(coalesce(u.billed_seconds, u.reserved_seconds)) > p.monthly_seconds
            + (SELECT coalesce(-sum(least(a.billed_seconds, 0)), 0) FROM accounts_usageentry a
               JOIN accounts_tenant own ON own.id = a.tenant_id WHERE own.name = t.name AND a.render_id IS NULL)
        """,
    ),
]
