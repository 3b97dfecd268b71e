"""A tenant's own files as sources of a project: `asset:ID`, and `avatar:ID` for the portrait."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from accounts.errors import ServiceError
from accounts.models import ApiKey
from projects.assets.source_urls import AVATAR, REFERENCE
from projects.models import Asset, AudioOrder, Avatar, Project
from render.storage.media import STORED

KINDS: dict[str, str] = {Asset.Kind.IMAGE: "an image", Asset.Kind.VIDEO: "a video", Asset.Kind.AUDIO: "an audio file"}
BACKGROUND = "parameters.background"
PORTRAIT = "image_url"  # The only field that an avatar can stand in.
USABLE: dict[str, tuple[str, ...]] = {
    PORTRAIT: (Asset.Kind.IMAGE, Asset.Kind.VIDEO),
    "audio_url": (Asset.Kind.AUDIO, Asset.Kind.VIDEO),
    "audio_url_2": (Asset.Kind.AUDIO, Asset.Kind.VIDEO),
}


@dataclass(frozen=True)
class Sources:
    """The sources of a project as `Render` names them: addresses, or stored files with their hash."""

    image: str
    voice: str
    second_voice: str
    seconds: float | None  # The length of the voices together; None if one of them is not known yet.
    image_asset: Asset | None  # None for an address.


def resolve(project: Project) -> Sources:
    """The sources of a project, whose references are replaced by the files that they mean.

    Raises ServiceError asset_not_found, asset_not_ready, asset_unusable, image_invalid, audio_invalid or
    audio_too_long, with the first parameter at fault.
    """
    sources: dict[str, str] = {param: getattr(project, param) or "" for param in USABLE}
    references = {param: text for param, text in sources.items() if REFERENCE.fullmatch(text)}
    assets = _look_up(project, references)
    seconds: dict[str, float | None] = {}
    for param, text in references.items():
        asset = _require_ready(assets.get(param), text, param)
        seconds[param] = _require_usable(project, asset, param)
        sources[param] = source_of(asset)
    lengths = [seconds.get("audio_url")] + ([seconds.get("audio_url_2")] if project.audio_url_2 else [])
    known = [length for length in lengths if length is not None]
    total = max(known, default=0) if project.audio_order == AudioOrder.MEANWHILE else sum(known)
    return Sources(
        image=sources[PORTRAIT],
        voice=sources["audio_url"],
        second_voice=sources["audio_url_2"],
        seconds=total if len(known) == len(lengths) else None,
        image_asset=assets.get(PORTRAIT),
    )


def find(owner: ApiKey | Project, reference: str, *, param: str) -> Asset:
    """The ready asset that a reference means, of the owner's tenant and mode.

    Raises ServiceError asset_not_found, asset_not_ready or asset_unusable.
    """
    return _require_ready(_look_up(owner, {param: reference}).get(param), reference, param)


def background_of(project: Project) -> str | None:
    """The `background` of a project's parameters, with an asset replaced by its file; None if none was given.

    Raises ServiceError asset_not_found, asset_not_ready, asset_unusable, or image_invalid for what is not an image.
    """
    background: str | None = project.parameters.get("background")
    if background is None or not REFERENCE.fullmatch(background):
        return background
    asset = find(project, background, param=BACKGROUND)
    if asset.kind != Asset.Kind.IMAGE:
        detail = f"A background needs an image, and this asset is {KINDS[asset.kind]}."
        raise ServiceError("image_invalid", detail, param=BACKGROUND)
    return source_of(asset)


def source_of_speech(project: Project) -> str:
    """The stored speech of the project's script; empty until it is spoken, and when it was deleted."""
    asset = _look_up(project, {"audio_url": project.audio_url}).get("audio_url") if project.audio_url else None
    return source_of(asset) if asset else ""


def source_of(asset: Asset) -> str:
    """The asset as `Render` names a source: where it is stored, and the hash that the file must have."""
    return f"{STORED}{asset.sha256}/{asset.key}"


def _look_up(owner: ApiKey | Project, references: Mapping[str, str]) -> dict[str, Asset]:
    """The assets of the owner's tenant and mode that references mean, by parameter; one statement for each kind."""
    own = {"tenant": owner.tenant_id, "is_test": owner.is_test}
    found: dict[str, Asset] = {}
    if _is_avatar(references.get(PORTRAIT, "")):  # In any other field an avatar means nothing.
        avatar = Avatar.objects.filter(**own, pk=_id_of(references[PORTRAIT])).select_related("asset").first()
        if avatar is not None:
            found[PORTRAIT] = avatar.asset
    ids = {param: _id_of(text) for param, text in references.items() if not _is_avatar(text)}
    if ids:
        assets = Asset.objects.filter(**own, deleted_at=None).in_bulk(list(ids.values()))
        found |= {param: assets[asset_id] for param, asset_id in ids.items() if asset_id in assets}
    return found


def _id_of(reference: str) -> uuid.UUID:
    return uuid.UUID(reference.partition(":")[2])


def _is_avatar(reference: str) -> bool:
    return reference.lower().startswith(AVATAR)


def _require_ready(asset: Asset | None, reference: str, param: str) -> Asset:
    if asset is None:
        detail = f"There is no such {'avatar' if _is_avatar(reference) else 'asset'}."
        if _is_avatar(reference) and param != PORTRAIT:
            detail = "An avatar is a portrait and has no voice. Give an asset."
        raise ServiceError("asset_not_found", detail, param=param)
    if asset.state == Asset.State.WAITING:
        hint = (
            "It is being checked"
            if asset.uploaded_at
            else "Its file has not arrived; send it, then call POST /uploads/{id}/complete"
        )
        raise ServiceError("asset_not_ready", f"{hint}.", param=param)
    if asset.state != Asset.State.READY:
        detail = asset.error_message or "Its file did not arrive in time."
        raise ServiceError("asset_unusable", detail, param=param)
    return asset


def _require_usable(project: Project, asset: Asset, param: str) -> float | None:
    """Return how many seconds the voice lasts; None for a video, whose voice is measured when it is prepared."""
    if asset.kind not in USABLE[param]:
        code = "image_invalid" if param == PORTRAIT else "audio_invalid"
        needed = "an image or a video" if param == PORTRAIT else "an audio file or a video"
        raise ServiceError(code, f"{param} needs {needed}, and this asset is {KINDS[asset.kind]}.", param=param)
    if param != PORTRAIT and asset.facts.get("has_sound") is False:
        raise ServiceError("audio_invalid", f"{param} needs a voice, and this video has no sound.", param=param)
    seconds: float | None = asset.facts.get("duration_seconds") if asset.kind == Asset.Kind.AUDIO else None
    limit = project.tenant.plan.max_audio_seconds
    if seconds is not None and seconds > limit:
        raise ServiceError("audio_too_long", f"The voice lasts {seconds:g} s; at most {limit} s.", param=param)
    return seconds
