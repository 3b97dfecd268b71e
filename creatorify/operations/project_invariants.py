"""Invariants of projects: takes, webhook events, deletions and uploaded files."""

from creatorify.operations.invariant import Invariant

PROJECT_INVARIANTS = [
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
        "The end of a render is one webhook event, of the right type.",
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
        "The media of a deleted project are deleted soon after its last render has ended.",
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
        "Files that are to be deleted from the media storage are deleted within a day.",
        """
        SELECT o.key FROM projects_discardedobject o
        WHERE o.delete_after < now() - interval '1 hour' OR o.tries > 28
        """,
    ),
    Invariant(
        "assets_checked",
        "An uploaded file is checked within an hour.",
        """
        SELECT a.id FROM projects_asset a WHERE a.state = 'waiting' AND a.deleted_at IS NULL
        AND a.uploaded_at < now() - interval '1 hour'
        """,
    ),
]
