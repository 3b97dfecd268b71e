from django.apps import AppConfig

from render.signals import housekeeping, render_changed, render_prepared


class ProjectsConfig(AppConfig):
    name = "projects"

    def ready(self) -> None:
        from projects import signal_handlers
        from projects.assets import claims as asset_claims
        from projects.assets import queue as asset_queue
        from projects.retention import project_deletion
        from projects.webhooks import outbox, polled_events
        from render.lifecycle.transitions import COMMON_QUEUE
        from render.queue import tickets

        render_changed.connect(signal_handlers.follow_render, dispatch_uid="projects.follow_render")
        render_prepared.connect(signal_handlers.end_preparation, dispatch_uid="projects.end_preparation")
        housekeeping.connect(polled_events.note, dispatch_uid="projects.webhooks.polled_events")
        housekeeping.connect(outbox.ring_if_due, dispatch_uid="projects.webhooks.outbox")
        housekeeping.connect(project_deletion.ring_if_due, dispatch_uid="projects.retention.project_deletion")
        housekeeping.connect(asset_queue.ring_if_due, dispatch_uid="projects.assets.queue")
        tickets.also_held[COMMON_QUEUE] = asset_claims.at_work
