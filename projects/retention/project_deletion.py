"""What DELETE of a project means: it is hidden at once, and all that was made or told of it is gone soon after.

A row stays as the receipt, and the bill. A storage that is away delays it; nothing is forgotten.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, F, Max, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

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
from render.storage import removal
from render.storage.errors import StorageFailure

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 600  # after which another worker tries what one has begun, or what the storage refused
TITLE = "(deleted)"


def delete_project(project: Project, api_key: ApiKey | None) -> None:
    """Hide the project for good, stop what it renders and have its media deleted. api_key: None when its time is over.

    No transaction around it: a worker locks a render before its project, this would lock them the other way round.
    Canceling comes first, so that a crash in between leaves a project that can be deleted again.
    """
    _stop(project)
    with transaction.atomic():
        if Project.objects.filter(pk=project.pk, deleted_at=None).update(deleted_at=Now(), updated_at=Now()):
            Deletion.objects.create(project=project, tenant=project.tenant, api_key=api_key)
            enqueue()
    _stop(project)  # A take that was added meanwhile; from here on there can be no new one.


def enqueue() -> None:
    """Have the media of deleted projects deleted soon."""
    enqueue_task("delete_media")


def enqueue_if_due(**_: object) -> None:
    """For the reaper: what a dead worker has left, a storage has refused, or is to be looked at once more."""
    if _due().exists() or discards.due().exists():
        enqueue()


def sweep_next() -> bool:
    """Delete the media of the deletion that is due for longest; False when there is none, or no storage answers."""
    deletion = _claim()
    if deletion is None:
        return False
    try:
        _sweep(deletion)
    except StorageFailure as failure:
        logger.warning("The media of the deleted project %s are still there: %s", deletion.project_id, failure)
        return not failure.reason.passes_at_once  # The others would only wait for the same storage.
    except (OperationalError, InterfaceError):
        raise  # The database is away.
    except Exception:  # The claim has put it off, so that it keeps back no other one.
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
    deleted = sum(removal.delete_films(render) + removal.delete_work(render) for render in renders)
    _forget(deletion.project)
    deleted += sum(assets.delete_stray_speech(render) for render in renders.all())
    # A worker that was told to stop may just have been storing something, and hangs no longer than this.
    ended_at = renders.aggregate(latest=Max("completed_at"))["latest"]
    last_at = ended_at + timedelta(seconds=settings.RENDER_HANG_SECONDS + settings.RENDER_LEASE_SECONDS)
    final = last_at <= timezone.now()
    Deletion.objects.filter(pk=deletion.pk).update(
        files=F("files") + deleted, sweep_after=last_at, completed_at=Now() if final else None
    )


@transaction.atomic
def _forget(project: Project) -> None:
    """What the customer has sent, wherever it was written to."""
    told = {"audio_url": "", "image_url": ""}
    renders = Render.objects.filter(take__project=project)
    renders.update(**told, audio_url_2="", prompt="", error_message="", error_trace="", warnings=[])
    renders.filter(script__isnull=False).update(script={})  # There was one; `assets.delete_stray_speech` asks.
    Project.objects.filter(pk=project.pk).update(
        **told,
        title=TITLE,
        description=None,
        script=None,
        audio_url_2=None,
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
    """What was spoken of its script, unless another project of the tenant uses it, too."""
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
            if error.code != "invalid_state":  # It ended just now.
                raise
