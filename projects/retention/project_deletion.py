"""The deletion of a project: it is hidden at once, and what was sent or made for it is deleted soon after.

The receipt and the usage stay. While the storage is away the deletion is delayed; nothing is forgotten.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.errors import ServiceError
from accounts.models import ApiKey, IdempotentResponse
from projects.assets import discards
from projects.assets import services as assets
from projects.assets.source_urls import ASSET
from projects.due_rows import claim_first
from projects.enqueue import enqueue_task
from projects.models import Asset, Deletion, Project
from projects.models.webhooks import WebhookEvent
from render.lifecycle import transitions
from render.models import TERMINAL_STATES, Render
from render.storage import media, removal
from render.storage.failures import StorageFailure

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 600  # After which a deletion that was begun, or that the storage refused, is tried again.
TITLE = "(deleted)"


def delete_project(project: Project, api_key: ApiKey | None) -> None:
    """Hide the project for good, cancel its renders and have its media deleted. api_key: None for the retention.

    Not to be called in a transaction: a worker locks a render before its project, and here it would be the other way
    round. Canceling comes first, so that a crash in between leaves a project that can be deleted again.
    """
    _stop(project)
    with transaction.atomic():
        if Project.objects.filter(pk=project.pk, deleted_at=None).update(deleted_at=Now(), updated_at=Now()):
            Deletion.objects.create(project=project, tenant=project.tenant, api_key=api_key)
            enqueue()
    _stop(project)  # A take may have been added meanwhile; from here on none can be.


def enqueue() -> None:
    """Have the media of deleted projects deleted soon."""
    enqueue_task("delete_media")


def enqueue_if_due(**_: object) -> None:
    """For the reaper: what a dead worker has left, a storage has refused, or is due once more."""
    if _due().exists() or discards.due().exists():
        enqueue()


def sweep_next() -> bool:
    """Carry out the deletion that has been due for longest; False if there is none, or the storage does not answer."""
    deletion = _claim()
    if deletion is None:
        return False
    try:
        _sweep(deletion)
    except StorageFailure as failure:
        logger.warning("The media of the deleted project %s are still there: %s", deletion.project_id, failure)
        return not failure.reason.passes_at_once  # The other deletions would only wait for the same storage.
    except DATABASE_UNAVAILABLE:
        raise  # The database is away.
    except Exception:  # The claim has put it off, so it delays no other one.
        logger.exception("The deleted project %s could not be swept, it is tried again later", deletion.project_id)
    return True


def _claim() -> Deletion | None:
    due = _due().order_by("sweep_after")
    return claim_first(due, time_field="sweep_after", again_after=lambda _: timedelta(seconds=AGAIN_SECONDS))


def _due() -> QuerySet[Deletion]:
    unfinished = Render.objects.filter(take__project=OuterRef("project")).exclude(state__in=TERMINAL_STATES)
    return Deletion.objects.filter(~Exists(unfinished), completed_at=None, sweep_after__lte=Now())


def _sweep(deletion: Deletion) -> None:
    renders = Render.objects.filter(take__project=deletion.project)
    deleted = sum(removal.delete_videos(render) + removal.delete_work(render) for render in renders)
    _forget(deletion.project)
    deleted += sum(assets.delete_stray_speech(render) for render in renders.all())
    # A worker that was told to stop may still store something, at most for this long.
    ended_at = renders.aggregate(latest=Max("completed_at"))["latest"]
    last_at = ended_at + timedelta(seconds=settings.RENDER_HANG_SECONDS + settings.RENDER_LEASE_SECONDS)
    final = last_at <= timezone.now()
    Deletion.objects.filter(pk=deletion.pk).update(
        files=F("files") + deleted, sweep_after=last_at, completed_at=Now() if final else None
    )


@transaction.atomic
def _forget(project: Project) -> None:
    """Delete what the customer has sent from all tables."""
    empty = {"audio_url": "", "image_url": ""}
    renders = Render.objects.filter(take__project=project)
    renders.update(
        **empty, audio_url_2="", speakers=[], prompt="", error_message="", error_trace="", warnings=[], frame=None
    )
    for render in renders.filter(parameters__background__startswith=media.STORED):
        renders.filter(pk=render.pk).update(parameters={**render.parameters, "background": "keep"})
    renders.filter(script__isnull=False).update(
        script={}
    )  # Not null: `assets.delete_stray_speech` sees by it that there was a script.
    parameters = {name: value for name, value in project.parameters.items() if name != "background"}
    Project.objects.filter(pk=project.pk).update(
        parameters=parameters,
        **empty,
        title=TITLE,
        description=None,
        script=None,
        audio_url_2=None,
        speakers=[],
        prompt=None,
        user_id="",
        metadata={},
        webhook_url="",
        warnings=[],
    )
    WebhookEvent.objects.filter(project_id=project.pk).delete()
    IdempotentResponse.objects.filter(tenant=project.tenant_id, body__id=str(project.pk)).delete()
    _delete_speech(project)


def _delete_speech(project: Project) -> None:
    """Delete the speech of the project's script, unless another project of the tenant uses it, too."""
    if not project.audio_url.startswith(ASSET):
        return
    asset_id = project.audio_url.removeprefix(ASSET)
    asset = Asset.objects.filter(pk=asset_id, origin=Asset.Origin.SPEECH, deleted_at=None).first()
    if asset is not None:
        assets.delete_unused_speech(asset)


def _stop(project: Project) -> None:
    for render in Render.objects.filter(take__project=project).exclude(state__in=TERMINAL_STATES):
        try:
            transitions.request_cancel(render)
        except ServiceError as error:
            if error.code != "invalid_state":  # Else it has just ended.
                raise
