"""What projects do when one of their renders changes; called inside the transaction that changes it.

`projects.apps` connects these. The outbox, `projects.webhooks.outbox.record`, is connected to the same signal.
"""

from django.db.models.functions import Now

from projects.assets import claims as asset_claims
from projects.assets import services as assets
from projects.models import Project
from projects.retention import project_deletion
from render.models import TERMINAL_STATES, Phase, Render, State


def touch_project(*, render: Render, **_: object) -> None:
    """Move `updated_at` of the render's project. For a new render `projects.services` writes the project itself."""
    Project.objects.filter(takes__render=render).update(updated_at=Now())


def check_uploads(*, render: Render, **_: object) -> None:
    """When a render is not being prepared any more, its tenant's uploads may be checked again."""
    if render.phase == Phase.PREPARE and render.attempt and render.state != State.RUNNING:
        asset_claims.enqueue_for(render.tenant_id)


def sweep_deleted_project(*, render: Render, **_: object) -> None:
    """When a render ends, delete the media of its project if the project was deleted meanwhile.

    Comes after `touch_project`, whose update waits for a deletion that is going on, so that it is seen here.
    """
    if (
        render.state in TERMINAL_STATES
        and Project.objects.filter(takes__render=render, deleted_at__isnull=False).exists()
    ):
        project_deletion.enqueue()


def end_preparation(*, render: Render, **_: object) -> None:
    """Let the tenant's uploads be checked, and make the speech of a script the project's voice."""
    asset_claims.enqueue_for(render.tenant_id)
    if render.sources and "speech" in render.sources:
        for project in Project.objects.filter(takes__render=render, deleted_at=None):
            assets.keep_speech(project, render.sources["speech"])
