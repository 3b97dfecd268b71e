"""Everything that writes an asset, but its check (`projects.assets.verification`): announce, arrive, delete."""

import logging
import mimetypes
import re
import uuid
from datetime import timedelta
from functools import reduce
from operator import or_
from pathlib import PurePosixPath

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils import timezone

from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant
from projects.assets import claims, discards
from projects.assets.references import source_of
from projects.assets.source_urls import ASSET
from projects.models import Asset, Project
from render.models import TERMINAL_STATES, Render
from render.sources import Speech
from render.storage import media
from render.storage.content_types import UNKNOWN

logger = logging.getLogger(__name__)

SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


@transaction.atomic
def announce(key: ApiKey, *, filename: str, content_type: str, num_bytes: int, sha256: str) -> tuple[Asset, bool]:
    """The asset of a file that is to be sent, and whether it is new: a file that the tenant has is not sent again.

    Raises ServiceError `storage_quota_exceeded`, `too_many_uploads` or `media_too_large`.
    """
    tenant = Tenant.objects.select_related("plan").select_for_update(of=("self",), no_key=True).get(pk=key.tenant_id)
    known = own(key).filter(sha256=sha256, state=Asset.State.READY).first() if sha256 else None
    if known is not None:
        return known, False
    limit = settings.MAX_AUDIO_BYTES if content_type.startswith("audio/") else settings.MAX_IMAGE_BYTES
    if num_bytes > limit:
        detail = f"A file of this type may have {limit:,} bytes at most; this one has {num_bytes:,}."
        raise ServiceError("media_too_large", detail, param="bytes")
    require_room(tenant, num_bytes, is_test=key.is_test)
    asset_id = uuid.uuid4()
    asset = Asset.objects.create(
        id=asset_id,
        tenant=tenant,
        is_test=key.is_test,
        filename=filename,
        content_type=content_type,
        num_bytes=num_bytes,
        sha256=sha256,
        key=f"{tenant.pk}/uploads/{asset_id}{suffix_of(filename, content_type)}",
        expires_at=timezone.now() + timedelta(seconds=settings.UPLOAD_SECONDS),
    )
    return asset, True


def require_room(tenant: Tenant, num_bytes: int, *, is_test: bool) -> None:
    """Announced files count, too. Raises ServiceError `storage_quota_exceeded` or `too_many_uploads`."""
    most = settings.MAX_ASSETS // 2 if is_test else settings.MAX_ASSETS
    if Asset.objects.filter(tenant=tenant)[:most].count() >= most:
        which = "those that were deleted or could not be used in the last 30 days included"
        raise ServiceError("too_many_uploads", f"There are {most} assets, {which}; no more are possible.")
    counted = Asset.objects.filter(tenant=tenant, deleted_at=None, state__in=[Asset.State.WAITING, Asset.State.READY])
    unsent = Q(state=Asset.State.WAITING, uploaded_at=None, expires_at__gt=Now())
    sums = counted.aggregate(
        stored=Sum("num_bytes", default=0),
        unsent=Count("pk", filter=unsent),
        unsent_bytes=Sum("num_bytes", filter=unsent, default=0),
    )
    if sums["stored"] + num_bytes > tenant.plan.max_stored_bytes:
        room = max(tenant.plan.max_stored_bytes - sums["stored"], 0)
        raise ServiceError("storage_quota_exceeded", f"There is room for {room} bytes more.", param="bytes")
    most, most_bytes = settings.MAX_UNSENT_UPLOADS, settings.MAX_UNSENT_UPLOAD_BYTES
    if sums["unsent"] >= most or sums["unsent_bytes"] + num_bytes > most_bytes:
        waiting = f"{sums['unsent']} uploads of {sums['unsent_bytes']} bytes are announced and were not sent"
        raise ServiceError(
            "too_many_uploads",
            f"{waiting}; at most {most} of {most_bytes} bytes may be. Send these, or delete their assets.",
            param="bytes" if sums["unsent"] < most else None,
        )


@transaction.atomic
def arrived(asset: Asset, *, key: str | None = None) -> None:
    """Record that the asset's file was sent, and have it checked.

    key: where this service has stored a body that it has received itself; of several bodies the first one counts.
    Raises ServiceError `upload_expired` when the upload was given up, and with a key `invalid_state` for all but the
    first body.
    """
    waiting = Asset.objects.filter(pk=asset.pk, deleted_at=None, state=Asset.State.WAITING, uploaded_at=None)
    stored_as = {} if key is None else {"key": key}
    is_first = waiting.update(uploaded_at=Now(), check_after=Now(), **stored_as)
    if is_first:
        claims.enqueue()
    asset.refresh_from_db()
    if asset.state == Asset.State.EXPIRED or asset.deleted_at is not None:
        raise upload_expired()
    if key is not None and not is_first:
        raise arrived_already()


def upload_expired() -> ServiceError:
    return ServiceError("upload_expired", "The time for this upload is over; announce it again.")


def arrived_already() -> ServiceError:
    return ServiceError("invalid_state", "This file has arrived already.")


def keep_speech(project: Project, speech: Speech) -> None:
    """Make the speech of the project's script an asset, and the project's voice."""
    # Locked, so that an equal one that is being deleted is not taken.
    equal = own(project).filter(sha256=speech["sha256"], state=Asset.State.READY)
    asset = equal.select_for_update(no_key=True).first()
    if asset is None:
        facts = {"format": "wav", "duration_seconds": speech["duration_seconds"]}
        asset = Asset.objects.create(
            tenant_id=project.tenant_id,
            is_test=project.is_test,
            origin=Asset.Origin.SPEECH,
            filename=f"{project.title[:100]}.wav",
            content_type="audio/wav",
            num_bytes=speech["num_bytes"],
            sha256=speech["sha256"],
            key=speech["key"],
            state=Asset.State.READY,
            kind=Asset.Kind.AUDIO,
            facts=facts,
            uploaded_at=Now(),
        )
    Project.objects.filter(pk=project.pk).update(audio_url=f"{ASSET}{asset.pk}")


def is_used(asset: Asset, *, within: timedelta | None = None) -> bool:
    """Whether a project that is not deleted names the asset as a voice, in any spelling of its id.

    within: only projects whose last change is not longer ago.
    """
    ids = [str(asset.pk), asset.pk.hex]
    names = [Q(**{f"{field}__iendswith": spelled}) for field in ("audio_url", "audio_url_2") for spelled in ids]
    projects = Project.objects.filter(reduce(or_, names), tenant=asset.tenant_id, deleted_at=None)
    return projects.filter(**{} if within is None else {"updated_at__gt": Now() - within}).exists()


@transaction.atomic
def delete(asset: Asset) -> None:
    """Raises ServiceError `invalid_state` while it is an avatar's portrait, or a waiting render still needs it."""
    asset = Asset.objects.select_for_update(no_key=True).get(pk=asset.pk)
    if asset.avatars.exists():
        raise ServiceError("invalid_state", "It is the portrait of an avatar; delete that first.")
    source = source_of(asset)
    needed = Q(image_url=source) | Q(audio_url=source) | Q(audio_url_2=source) | Q(parameters__background=source)
    unprepared = Render.objects.filter(needed, tenant=asset.tenant_id, sources__isnull=True).exclude(
        state__in=TERMINAL_STATES
    )
    if unprepared.exists():
        raise ServiceError("invalid_state", "A project that is waiting needs it.")
    Asset.objects.filter(pk=asset.pk).update(deleted_at=Now())
    discards.discard_upload(asset)
    discards.enqueue()


@transaction.atomic
def delete_unused_speech(asset: Asset, *, within: timedelta | None = None) -> bool:
    """Delete a speech that no project names (`is_used`) and no render needs; return whether it was deleted."""
    Asset.objects.select_for_update(no_key=True).get(pk=asset.pk)
    if is_used(asset, within=within):
        return False
    try:
        delete(asset)
    except ServiceError as error:
        logger.info("The speech %s is kept for now: %s", asset.pk, error.detail)
        return False
    return True


def delete_stray_speech(render: Render) -> int:
    """Delete the speech of the render's script if no asset names it; return the number of files.

    Raises StorageFailure.
    """
    folder = media.speech_folder_of(render)
    if render.script is None or Asset.objects.filter(key__startswith=f"{folder}/", deleted_at=None).exists():
        return 0
    return media.delete_folder(folder)


def own(of: ApiKey | Project) -> QuerySet[Asset]:
    """The assets of the same tenant, made with the same kind of key, live or test."""
    return Asset.objects.filter(tenant=of.tenant_id, is_test=of.is_test, deleted_at=None)


def suffix_of(filename: str, content_type: str) -> str:
    """The suffix of the file's name if it fits the type, else one of the type; empty for an unknown type.

    Storages see by the suffix what a file is.
    """
    if content_type == UNKNOWN:
        return ""
    suffix = PurePosixPath(filename).suffix.lower()
    meant = mimetypes.guess_type(f"file{suffix}")[0] or ""
    # Many types have several names, so only the part before the slash is compared.
    if SUFFIX.fullmatch(suffix) and meant.partition("/")[0] == content_type.partition("/")[0]:
        return suffix
    return mimetypes.guess_extension(content_type) or ""
