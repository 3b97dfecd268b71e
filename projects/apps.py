from django.apps import AppConfig

from render.signals import housekeeping, render_changed, render_prepared


class ProjectsConfig(AppConfig):
    name = "projects"

    def ready(self) -> None:
        from projects import asset_claims, asset_queue, deletions, receivers, webhook_events, webhook_news
        from render import queue
        from render.lifecycle import COMMON_QUEUE

        render_changed.connect(receivers.follow_render, dispatch_uid="projects.follow_render")
        render_prepared.connect(receivers.end_preparation, dispatch_uid="projects.end_preparation")
        housekeeping.connect(webhook_news.note, dispatch_uid="projects.webhook_news")
        housekeeping.connect(webhook_events.ring_if_due, dispatch_uid="projects.webhook_events")
        housekeeping.connect(deletions.ring_if_due, dispatch_uid="projects.deletions")
        housekeeping.connect(asset_queue.ring_if_due, dispatch_uid="projects.asset_queue")
        queue.also_held[COMMON_QUEUE] = asset_claims.at_work
