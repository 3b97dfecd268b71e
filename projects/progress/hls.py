"""The HLS playlist of a video that is still being rendered, at an address that needs no API key."""

import uuid
from typing import Any

from django.core.signing import BadSignature, Signer
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from projects.models import Take
from render.models import State
from render.storage.hls_playlist import CONTENT_TYPE, media_playlist

UNFINISHED = (State.FAILED, State.CANCELED)  # These are not charged, so their segments are not shown.
# A player cannot send an API key, so the address holds a signed id. The salt never changes: links depend on it.
_signer = Signer(salt="projects.previews", sep=".")


def preview_path(render_id: uuid.UUID) -> str:
    """The path of a render's playlist; always the same for the same render."""
    return reverse("preview", kwargs={"signed_id": _signer.sign(render_id.hex)})


class PreviewView(APIView):
    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="v1_preview_retrieve",
        tags=["projects"],
        summary="Watch a video while it renders",
        auth=[],
        responses={(200, CONTENT_TYPE): OpenApiTypes.STR},
    )
    def get(self, request: Request, signed_id: str) -> HttpResponse:
        """An HLS playlist (RFC 8216) that grows until the render has ended; `preview_url` of a project leads here."""
        try:
            render_id = _signer.unsign(signed_id)
        except BadSignature:
            raise NotFound from None
        takes = Take.objects.filter(project__deleted_at=None, project__tenant__suspended_at=None)
        takes = takes.filter(render__segments_total__isnull=False)
        takes = takes.exclude(render__state__in=UNFINISHED)
        take = get_object_or_404(takes.select_related("render"), render=render_id)
        return HttpResponse(media_playlist(take.render), content_type=CONTENT_TYPE)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        # Players accept one of several names of the same type, or anything.
        return super().perform_content_negotiation(request, force=True)

    @property
    def default_response_headers(self) -> dict[str, Any]:
        return {
            **super().default_response_headers,
            # Any page may play it: the address cannot be guessed, and nothing depends on a cookie.
            "Access-Control-Allow-Origin": "*",
        }
