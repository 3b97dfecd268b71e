"""What must hold at every moment, as SQL that finds what breaks it: nothing lost, nothing billed twice, nothing stuck.

Each query returns a text for each violation. They read several tables at one moment, so a single statement each.
"""

from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from projects.retention import policy as retention
from render.engines.base import FPS

# Both times are those at which their transactions began: a claim may wait for the lock while a segment is written.
TOGETHER_SECONDS = 1
FAULT_MINUTES = 15  # that a machine may be without room before it is told as broken
SHOWN = 20  # violations of one invariant that are told
TERMINAL = "('finished', 'failed', 'canceled')"
# Of the older service: it came without attempts, segments and usage.
NOT_IMPORTED = "NOT (r.attempt = 0 AND r.state IN ('finished', 'failed'))"
CLAIMABLE = """
    FROM render_render r JOIN accounts_tenant t ON t.id = r.tenant_id JOIN accounts_plan p ON p.id = t.plan_id
    LEFT JOIN render_running_of_tenant running ON running.tenant_id = r.tenant_id
    WHERE r.state = 'queued' AND r.cancel_requested_at IS NULL
    AND (r.phase IN ('assembling', 'uploading') OR coalesce(running.number, 0) < p.max_concurrent)
    AND r.not_before < now() - make_interval(secs => %(patience)s)
"""

# Unique indexes, checks and a trigger, by their names in the migrations.
GUARDS = [
    *("accounts_usageentry_render_id_key", "one_response_a_key", "projects_take_render_id_key", "one_take_a_number"),
    *("one_attempt_a_number", "one_segment_an_index", "one_event_a_render", "one_delivery_an_endpoint"),
    *("billed_within_the_hold", "running_holds_a_lease", "terminal_is_completed", "render_terminal_is_final"),
]


@dataclass(frozen=True)
class Invariant:
    name: str
    meaning: str
    sql: str


INVARIANTS = [
    Invariant(
        "lease_alive",
        "A running render's lease is renewed, or it is taken from its worker.",
        """
        SELECT r.id FROM render_render r
        WHERE r.state = 'running' AND r.lease_until < now() - make_interval(secs => %(patience)s)
        """,
    ),
    Invariant(
        "cancel_carried_out",
        "What waits is canceled at once: no render waits that was asked to end.",
        "SELECT r.id FROM render_render r WHERE r.state = 'queued' AND r.cancel_requested_at IS NOT NULL",
    ),
    Invariant(
        "ticket_there",
        "Where a render could be claimed, its queue has a ticket.",
        f"""
        SELECT DISTINCT r.queue {CLAIMABLE}
        AND NOT EXISTS (SELECT FROM django_q_ormq ticket WHERE ticket.key = r.queue)
        """,
    ),
    Invariant(
        "nodes_can_work",
        "A machine that lives has room to work, or gets it soon.",
        f"""
        SELECT n.name || ' (' || n.queue || '): ' || n.fault FROM render_node n
        WHERE n.fault <> '' AND n.fault_since < now() - interval '{FAULT_MINUTES} minutes'
        AND greatest(n.heartbeat_at, n.canary_at) > now() - interval '{FAULT_MINUTES} minutes'
        """,
    ),
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
        "A hold is settled when its render ends, and not before.",
        f"""
        SELECT r.id FROM render_render r JOIN accounts_usageentry u ON u.render_id = r.id
        WHERE (r.state IN {TERMINAL}) <> (u.billed_seconds IS NOT NULL)
        """,
    ),
    Invariant(
        "billed_as_made",
        "A finished film is billed by its segments' length; what failed or was canceled is not.",
        f"""
        SELECT r.id FROM render_render r JOIN accounts_usageentry u ON u.render_id = r.id
        LEFT JOIN LATERAL (SELECT sum(s.frames) AS frames FROM render_segment s WHERE s.render_id = r.id) made ON true
        WHERE r.state IN {TERMINAL} AND {NOT_IMPORTED} AND r.work_deleted_at IS NULL AND u.billed_seconds <>
            CASE WHEN r.state = 'finished' THEN ceil(made.frames / {FPS}.0) ELSE 0 END
        """,
    ),
    Invariant(
        "amount_is_price",
        "A charge is its seconds at its price, never more than was held.",
        """
        SELECT u.id FROM accounts_usageentry u WHERE u.render_id IS NOT NULL
        AND (u.amount_micros <> coalesce(u.billed_seconds, u.reserved_seconds) * u.price_micros
             OR u.billed_seconds > u.reserved_seconds)
        """,
    ),
    Invariant(
        "within_plan",
        "What a tenant has used and holds this month is within its plan, its credits aside.",
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
    Invariant(
        "finished_is_whole",
        "A finished render has all its segments, in order, and its film.",
        f"""
        SELECT r.id FROM render_render r
        LEFT JOIN LATERAL (
            SELECT count(*) AS number, sum(s.frames) AS frames, max(s.index) AS last
            FROM render_segment s WHERE s.render_id = r.id
        ) made ON true
        WHERE r.state = 'finished' AND {NOT_IMPORTED} AND (
            r.work_deleted_at IS NULL AND (made.number <> r.segments_total OR made.last <> r.segments_total - 1
                                           OR made.frames <> r.num_frames)
            OR (r.video_key = '') <> (r.films_deleted_at IS NOT NULL) OR r.progress <> 100)
        """,
    ),
    Invariant(
        "attempts_in_order",
        "Attempts are numbered without a gap, and only a running render has one that is not ended.",
        f"""
        SELECT r.id FROM render_render r
        LEFT JOIN LATERAL (
            SELECT count(*) AS number, max(a.number) AS last, count(*) FILTER (WHERE a.ended_at IS NULL) AS open
            FROM render_attempt a WHERE a.render_id = r.id
        ) made ON true
        WHERE (r.completed_at IS NULL OR r.completed_at > now() - interval '{retention.ATTEMPTS.days} days')
        AND (made.number <> r.attempt OR coalesce(made.last, 0) <> r.attempt
             OR made.open <> (r.state = 'running')::int)
        """,
    ),
    Invariant(
        "no_stale_segment",
        "A segment was written by an attempt of its render, before that attempt ended and the next one began.",
        f"""
        SELECT s.id FROM render_segment s JOIN render_render r ON r.id = s.render_id
        WHERE s.attempt > r.attempt OR s.created_at > r.completed_at OR EXISTS (
            SELECT FROM render_attempt later WHERE later.render_id = s.render_id AND later.number > s.attempt
            AND later.started_at < s.created_at - interval '{TOGETHER_SECONDS} s')
        """,
    ),
    Invariant(
        "concurrency_kept",
        "A tenant has no more renders running than its plan allows; joining and uploading do not count.",
        """
        SELECT t.name FROM render_render r JOIN accounts_tenant t ON t.id = r.tenant_id
        JOIN accounts_plan p ON p.id = t.plan_id
        WHERE r.state = 'running' AND r.phase NOT IN ('assembling', 'uploading')
        GROUP BY t.name, p.max_concurrent HAVING count(*) > p.max_concurrent
        """,
    ),
    Invariant(
        "guards_stand",
        "The database itself lets no render leave a terminal state, and lets nothing exist twice that may exist once.",
        f"""
        SELECT guard FROM unnest(ARRAY{GUARDS}) AS wanted(guard)
        WHERE NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(guard) AND indisunique AND indisvalid)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = guard AND contype = 'c' AND convalidated
                        AND conrelid IN (to_regclass('render_render'), to_regclass('accounts_usageentry')))
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = guard AND tgrelid = to_regclass('render_render')
                        AND tgenabled <> 'D')
        """,
    ),
    Invariant(
        "one_take",
        "Each render belongs to one take of a project.",
        """
        SELECT r.id FROM render_render r LEFT JOIN projects_take k ON k.render_id = r.id
        WHERE k.id IS NULL
        """,
    ),
    Invariant(
        "one_end_is_told",
        "A render's end is told once, as what it was.",
        """
        SELECT e.render_id FROM projects_webhookevent e LEFT JOIN render_render r ON r.id = e.render_id
        WHERE e.type IN ('project.finished', 'project.failed', 'project.canceled')
        GROUP BY e.render_id, r.state HAVING count(*) <> 1 OR max(e.type) IS DISTINCT FROM 'project.' || r.state
        """,
    ),
    Invariant(
        "messages_move_on",
        "Every webhook event becomes deliveries, and a delivery is tried within 15 minutes after it is due.",
        """
        SELECT e.version::text FROM projects_webhookevent e
        WHERE e.handed_out_at IS NULL AND e.given_up_at IS NULL AND e.created_at < now() - interval '15 minutes'
        UNION ALL
        SELECT d.id::text FROM projects_webhookdelivery d JOIN projects_webhookendpoint p ON p.id = d.endpoint_id
        WHERE d.next_try_at < now() - interval '15 minutes' AND p.disabled_at IS NULL
        """,
    ),
    Invariant(
        "deletions_done",
        "The media of a deleted project are gone soon after its last render has ended.",
        """
        SELECT d.project_id FROM projects_deletion d
        WHERE d.completed_at IS NULL AND d.requested_at < now() - interval '2 hours'
        AND NOT EXISTS (SELECT FROM projects_take k JOIN render_render r ON r.id = k.render_id
                        WHERE k.project_id = d.project_id
                        AND (r.completed_at IS NULL OR r.completed_at > now() - interval '2 hours'))
        """,
    ),
    Invariant(
        "objects_deleted",
        "What is to be deleted from the media storage is deleted, in a day at the latest.",
        """
        SELECT o.key FROM projects_discardedobject o
        WHERE o.delete_after < now() - interval '1 hour' OR o.tries > 28
        """,
    ),
    Invariant(
        "assets_checked",
        "What has arrived is checked.",
        """
        SELECT a.id FROM projects_asset a WHERE a.state = 'waiting' AND a.deleted_at IS NULL
        AND a.uploaded_at < now() - interval '1 hour'
        """,
    ),
]


@dataclass(frozen=True)
class Finding:
    invariant: Invariant
    violations: list[str]  # the first few
    not_checked: str = ""  # why it is not known whether it holds

    @property
    def text(self) -> str:
        """What is found, in words."""
        return f"could not be checked: {self.not_checked}" if self.not_checked else " ".join(self.violations)


def patience() -> float:
    """Seconds in which a dead worker, or a lost ticket, is to be noticed: a lease and two rounds of the reaper."""
    seconds: float = settings.RENDER_LEASE_SECONDS + 2 * settings.REAPER_INTERVAL_SECONDS
    return seconds


def check() -> list[Finding]:
    """Every invariant that is broken now, or could not be checked; nothing if all is well.

    One that fails, because it takes longer than a statement may, does not keep the others from being checked. Raises
    a database error when the database is away.
    """
    findings = []
    for invariant in INVARIANTS:
        try:
            violations = _violations(invariant)
        except DatabaseError as error:
            if not connection.is_usable():
                raise
            findings.append(Finding(invariant, [], not_checked=str(error).strip()))
        else:
            if violations:
                findings.append(Finding(invariant, violations))
    return findings


def _violations(invariant: Invariant) -> list[str]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT v::text FROM ({invariant.sql}) AS found(v) LIMIT {SHOWN}", {"patience": patience()})
        return [row[0] for row in cursor.fetchall()]
