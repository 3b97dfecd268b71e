"""What a project does when one of its renders changes; runs inside the transaction that changes it."""

from django.db.models.functions import Now

from projects.assets import queue as asset_queue
from projects.assets import services as assets
from projects.models import Project
from projects.retention import project_deletion
from projects.webhooks import outbox
from render.models import Phase, Render, State


def follow_render(*, render: Render, **_: object) -> None:
    """Move the project's `updated_at`; what a deleted project was still rendering is deleted when it ends."""
    changed = Project.objects.filter(takes__render=render)
    # The update comes first: it waits for a deletion that is going on, so that the next line sees it.
    changed.update(updated_at=Now())
    outbox.note(render)
    if render.phase == Phase.PREPARE and render.attempt and render.state != State.RUNNING:  # It was being prepared.
        asset_queue.ring_for(render.tenant_id)
    if render.is_terminal and changed.filter(deleted_at__isnull=False).exists():
        project_deletion.ring()


def end_preparation(*, render: Render, **_: object) -> None:
    """The tenant's uploads may go on, and what was spoken of a script becomes the project's voice."""
    asset_queue.ring_for(render.tenant_id)
    if render.sources and "speech" in render.sources:
        for project in Project.objects.filter(takes__render=render, deleted_at=None):
            assets.keep_speech(project, render.sources["speech"])
