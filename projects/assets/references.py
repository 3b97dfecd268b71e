"""A tenant's own files as sources of a project: `asset:ID`, and `avatar:ID` for the portrait."""

import re
import uuid
from dataclasses import dataclass

from accounts.errors import ServiceError
from projects.assets import services as assets
from projects.models import Asset, AudioOrder, Avatar, Project

AVATAR = "avatar:"
KINDS: dict[str, str] = {Asset.Kind.IMAGE: "a picture", Asset.Kind.VIDEO: "a video", Asset.Kind.AUDIO: "a sound"}
_REFERENCE = re.compile(r"(?:asset|avatar):[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_PORTRAITS = (Asset.Kind.IMAGE, Asset.Kind.VIDEO)
_VOICES = (Asset.Kind.AUDIO, Asset.Kind.VIDEO)


@dataclass(frozen=True)
class Sources:
    """As `render` takes them."""

    image: str
    voice: str
    second_voice: str
    seconds: float | None  # that the voices last, if all are known


def is_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def resolve(project: Project) -> Sources:
    """Raises ServiceError asset_not_found, asset_not_ready, asset_unusable, image_invalid, audio_invalid or
    audio_too_long, with the parameter at fault.
    """
    image, _ = _source(project, "image_url", _PORTRAITS)
    voice, seconds = _source(project, "audio_url", _VOICES)
    second, second_seconds = _source(project, "audio_url_2", _VOICES)
    lengths = [seconds, second_seconds] if project.audio_url_2 else [seconds]
    known = [length for length in lengths if length is not None]
    total = max(known, default=0) if project.audio_order == AudioOrder.MEANWHILE else sum(known)
    return Sources(image, voice, second, total if len(known) == len(lengths) else None)


def find(project: Project, reference: str, *, param: str) -> Asset:
    """The ready asset that is meant, of the project's tenant and mode.

    Raises ServiceError asset_not_found, asset_not_ready or asset_unusable.
    """
    kind, _, asset_id = reference.partition(":")
    if kind.lower() == "avatar":
        avatar = (
            Avatar.objects.filter(pk=uuid.UUID(asset_id), tenant=project.tenant_id, is_test=project.is_test)
            .select_related("asset")
            .first()
        )
        if avatar is None or param != "image_url":
            raise ServiceError("asset_not_found", "There is no such avatar.", param=param)
        return avatar.asset
    asset = assets.own(project).filter(pk=uuid.UUID(asset_id)).first()
    if asset is None:
        raise ServiceError("asset_not_found", "There is no such asset.", param=param)
    if asset.state == Asset.State.WAITING:
        hint = (
            "It is being checked"
            if asset.uploaded_at
            else "Its file has not arrived; send it, then call POST /uploads/{id}/complete"
        )
        raise ServiceError("asset_not_ready", f"{hint}.", param=param)
    if asset.state != Asset.State.READY:
        raise ServiceError("asset_unusable", asset.error_message or "Its file has not come in time.", param=param)
    return asset


def source_of_speech(project: Project) -> str:
    """What its script has become, as `render` takes it; empty when that was not spoken yet, or was deleted."""
    _, _, asset_id = project.audio_url.partition(":")
    asset = assets.own(project).filter(pk=asset_id).first() if asset_id else None
    return assets.source_of(asset) if asset else ""


def _source(project: Project, param: str, kinds: tuple[str, ...]) -> tuple[str, float | None]:
    text: str = getattr(project, param) or ""
    if not is_reference(text):
        return text, None
    asset = find(project, text, param=param)
    if asset.kind not in kinds:
        code = "image_invalid" if param == "image_url" else "audio_invalid"
        needed = "a picture or a video" if param == "image_url" else "a sound or a video"
        raise ServiceError(code, f"{param} needs {needed}, and this asset is {KINDS[asset.kind]}.", param=param)
    seconds: float | None = asset.facts.get("duration_seconds") if asset.kind == Asset.Kind.AUDIO else None
    limit = project.tenant.plan.max_audio_seconds
    if seconds is not None and seconds > limit:
        raise ServiceError("audio_too_long", f"The voice lasts {seconds:g} s; at most {limit} s.", param=param)
    return assets.source_of(asset), seconds
