"""Invariants of renders, their attempts and segments, and of the nodes: nothing is lost, nothing is stuck."""

from creatorify.operations.invariant import NOT_IMPORTED, Invariant
from projects.retention import policy as retention

# Two rows have the times at which their transactions began, and a claim may have waited while a segment was written.
TOGETHER_SECONDS = 1
FAULT_MINUTES = 15  # A node may be without room for so long.
LATE_MINUTES = 5  # After a missed deadline, until a lost lease or an outage is noticed and the render has ended.
# By the rules of `render.deadlines`, in SQL of its own.
HAS_NOT_BEGUN = "r.begun_at IS NULL AND r.phase IN ('prepare', 'waiting')"
CLAIMABLE = f"""
    FROM render_render r JOIN accounts_tenant t ON t.id = r.tenant_id JOIN accounts_plan p ON p.id = t.plan_id
    LEFT JOIN render_running_of_tenant running ON running.tenant_id = r.tenant_id
    WHERE r.state = 'queued' AND r.cancel_requested_at IS NULL
    AND (r.phase IN ('assembling', 'uploading') OR coalesce(running.number, 0) < p.max_concurrent)
    AND r.not_before < now() - make_interval(secs => %(patience)s)
    AND coalesce(r.total_deadline_at > now(), true)
    AND NOT ({HAS_NOT_BEGUN} AND coalesce(r.start_deadline_at <= now(), false))
"""

# Unique indexes, check constraints and a trigger, by their names in the migrations.
GUARDS = [
    "accounts_usageentry_render_id_key",
    "one_response_a_key",
    "projects_take_render_id_key",
    "one_take_a_number",
    "one_attempt_a_number",
    "one_segment_an_index",
    "one_event_a_render",
    "one_delivery_an_endpoint",
    "billed_within_the_hold",
    "running_holds_a_lease",
    "terminal_is_completed",
    "render_terminal_is_final",
]

RENDER_INVARIANTS = [
    Invariant(
        "lease_alive",
        "The lease of a running render is renewed, or the render is taken from its worker.",
        """
        SELECT r.id FROM render_render r
        WHERE r.state = 'running' AND r.lease_until < now() - make_interval(secs => %(patience)s)
        """,
    ),
    Invariant(
        "cancel_carried_out",
        "A waiting render is canceled at once: none waits after a cancel was requested.",
        "SELECT r.id FROM render_render r WHERE r.state = 'queued' AND r.cancel_requested_at IS NOT NULL",
    ),
    Invariant(
        "start_deadline_kept",
        f"A render that has not begun by its start deadline ends, {LATE_MINUTES} minutes later at the latest.",
        f"""
        SELECT r.id FROM render_render r WHERE r.state IN ('queued', 'running') AND {HAS_NOT_BEGUN}
        AND r.start_deadline_at < now() - interval '{LATE_MINUTES} minutes'
        """,
    ),
    Invariant(
        "total_deadline_kept",
        f"A render that is not finished by its total deadline ends, {LATE_MINUTES} minutes later at the latest.",
        f"""
        SELECT r.id FROM render_render r WHERE r.state IN ('queued', 'running')
        AND r.total_deadline_at < now() - interval '{LATE_MINUTES} minutes'
        """,
    ),
    Invariant(
        "ticket_there",
        "If a worker could claim a render, its queue has a ticket.",
        f"""
        SELECT DISTINCT r.queue {CLAIMABLE}
        AND NOT EXISTS (SELECT FROM django_q_ormq ticket WHERE ticket.key = r.queue)
        """,
    ),
    Invariant(
        "nodes_can_work",
        "A node that is alive has room to work, or gets it soon.",
        f"""
        SELECT n.name || ' (' || n.queue || '): ' || n.fault FROM render_node n
        WHERE n.fault <> '' AND n.fault_since < now() - interval '{FAULT_MINUTES} minutes'
        AND greatest(n.heartbeat_at, n.canary_at) > now() - interval '{FAULT_MINUTES} minutes'
        """,
    ),
    Invariant(
        "finished_is_whole",
        "A finished render has all its segments, in order, and its video.",
        f"""
        SELECT r.id FROM render_render r
        LEFT JOIN LATERAL (
            SELECT count(*) AS number, sum(s.frames) AS frames, max(s.index) AS last
            FROM render_segment s WHERE s.render_id = r.id
        ) recorded ON true
        WHERE r.state = 'finished' AND {NOT_IMPORTED} AND (
            r.work_deleted_at IS NULL AND (recorded.number <> r.segments_total OR recorded.last <> r.segments_total - 1
                                           OR recorded.frames <> r.num_frames)
            OR (r.video_key = '') <> (r.films_deleted_at IS NOT NULL) OR r.progress <> 100)
        """,
    ),
    Invariant(
        "attempts_in_order",
        "Attempts are numbered without a gap, and only a running render has an attempt that has not ended.",
        f"""
        SELECT r.id FROM render_render r
        LEFT JOIN LATERAL (
            SELECT count(*) AS number, max(a.number) AS last, count(*) FILTER (WHERE a.ended_at IS NULL) AS open
            FROM render_attempt a WHERE a.render_id = r.id
        ) recorded ON true
        WHERE (r.completed_at IS NULL OR r.completed_at > now() - interval '{retention.ATTEMPTS.days} days')
        AND (recorded.number <> r.attempt OR coalesce(recorded.last, 0) <> r.attempt
             OR recorded.open <> (r.state = 'running')::int)
        """,
    ),
    Invariant(
        "no_stale_segment",
        "Every segment was recorded by an attempt of its render, before the next attempt began.",
        f"""
        SELECT s.id FROM render_segment s JOIN render_render r ON r.id = s.render_id
        WHERE s.attempt > r.attempt OR s.created_at > r.completed_at OR EXISTS (
            SELECT FROM render_attempt later WHERE later.render_id = s.render_id AND later.number > s.attempt
            AND later.started_at < s.created_at - interval '{TOGETHER_SECONDS} s')
        """,
    ),
    Invariant(
        "concurrency_kept",
        "A tenant has no more running renders than its plan allows; renders that are joined or uploaded do not count.",
        """
        SELECT t.name FROM render_render r JOIN accounts_tenant t ON t.id = r.tenant_id
        JOIN accounts_plan p ON p.id = t.plan_id
        WHERE r.state = 'running' AND r.phase NOT IN ('assembling', 'uploading')
        GROUP BY t.name, p.max_concurrent HAVING count(*) > p.max_concurrent
        """,
    ),
    Invariant(
        "guards_stand",
        "The database has its guards: no render leaves a terminal state, and nothing exists twice that may exist once.",
        f"""
        SELECT guard FROM unnest(ARRAY{GUARDS}) AS expected(guard)
        WHERE NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(guard) AND indisunique AND indisvalid)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = guard AND contype = 'c' AND convalidated
                        AND conrelid IN (to_regclass('render_render'), to_regclass('accounts_usageentry')))
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = guard AND tgrelid = to_regclass('render_render')
                        AND tgenabled <> 'D')
        """,
    ),
]
