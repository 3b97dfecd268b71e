"""Links from the admin to a tenant's media files. The audit log gets an entry for each file that is opened."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html

from accounts import audit
from accounts.admin.base import NOTHING
from render.models import Render
from render.storage import media

RESULTS = ("video", "poster", "transparent")  # of `media_keys`; the others are sources


def media_keys(render: Render) -> dict[str, str]:
    """The keys in the media storage of a render's sources and results, by a name for each."""
    sources: dict[str, Any] = render.sources or {}
    keys = {
        "video": render.video_key,
        "poster": render.poster_key,
        "transparent": render.alpha_key,
        "portrait": sources.get("portrait"),
        "source-video": sources.get("video"),
    }
    keys |= {f"voice-{number}": key for number, key in enumerate(sources.get("voices", []), 1)}
    keys |= {f"sound-{number}": key for number, (key, _) in enumerate(sources.get("sound", []), 1)}
    return {name: key for name, key in keys.items() if key}


def media_link(render_id: UUID, name: str, key: str | None, text: str) -> str:
    """A link to `open_media`. name: see `media_keys`, or `segment-` and its index. key: empty if there is no file."""
    if not key:
        return NOTHING
    url = reverse("admin:render_render_media", args=[render_id, name])
    return format_html('<a href="{}" target="_blank" rel="noopener">{}</a>', url, text)


def open_media(request: HttpRequest, render_id: UUID, name: str) -> HttpResponse:
    """Redirect to the file. Needs the permission `render.view_media`."""
    if not request.user.has_perm("render.view_media"):
        raise PermissionDenied
    render = get_object_or_404(Render.objects.select_related("tenant"), pk=render_id)
    segments = {f"segment-{segment.index}": segment.key for segment in render.segments.all()}
    key = {**segments, **media_keys(render)}.get(name)
    if key is None:
        raise Http404
    audit.record("media.view", render, request=request, tenant=render.tenant, details={"name": name})
    return redirect(media.staff_link(key))
