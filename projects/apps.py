"""Connects what projects do to the signals of `render`, which does not know them."""

from django.apps import AppConfig

from render.signals import housekeeping, render_changed, render_moved_on, render_prepared


class ProjectsConfig(AppConfig):
    name = "projects"

    def ready(self) -> None:
        from projects import signal_handlers
        from projects.assets import claims as asset_claims
        from projects.retention import project_deletion
        from projects.webhooks import outbox, polled_events
        from render.lifecycle.transitions import COMMON_QUEUE
        from render.queue import selection

        render_changed.connect(outbox.record, dispatch_uid="projects.webhooks.outbox.record")
        render_changed.connect(signal_handlers.check_uploads, dispatch_uid="projects.check_uploads")
        render_changed.connect(signal_handlers.sweep_deleted_project, dispatch_uid="projects.sweep_deleted_project")
        render_moved_on.connect(signal_handlers.touch_project, dispatch_uid="projects.touch_project")
        render_prepared.connect(signal_handlers.end_preparation, dispatch_uid="projects.end_preparation")
        housekeeping.connect(polled_events.record, dispatch_uid="projects.webhooks.polled_events")
        housekeeping.connect(outbox.enqueue_if_due, dispatch_uid="projects.webhooks.outbox")
        housekeeping.connect(project_deletion.enqueue_if_due, dispatch_uid="projects.retention.project_deletion")
        housekeeping.connect(asset_claims.enqueue_if_due, dispatch_uid="projects.assets.claims")
        selection.other_work[COMMON_QUEUE] = asset_claims.at_work
