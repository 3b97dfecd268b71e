"""The OpenAPI document over HTTP, generated once in each process.

Generating it takes a quarter of a second of CPU, and everybody may request it.
"""

import functools
import hashlib
from threading import Lock
from typing import Any, NamedTuple

from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.encoding import force_bytes
from django.utils.http import quote_etag
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

RENDERERS = {renderer.media_type: renderer for renderer in SpectacularAPIView.renderer_classes}
_generating = Lock()


class Document(NamedTuple):
    body: bytes
    etag: str


class SchemaView(SpectacularAPIView):
    """As YAML or JSON. There is one version in one language, so other parameters of the query are ignored."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        renderer: BaseRenderer = request.accepted_renderer
        with _generating:  # Requests at the same time wait for the one that generates it.
            document = rendered(renderer.media_type)
        unchanged = get_conditional_response(request._request, document.etag)
        response = unchanged or HttpResponse(document.body, content_type=renderer.media_type)
        response["ETag"] = document.etag
        response["Cache-Control"] = "public, max-age=300"
        response["Content-Disposition"] = f'inline; filename="creatorify.{renderer.format}"'
        return response


@functools.cache
def rendered(media_type: str) -> Document:
    """media_type: a key of RENDERERS."""
    body = force_bytes(RENDERERS[media_type]().render(_schema(), media_type, {}))
    return Document(body, quote_etag(hashlib.sha256(body).hexdigest()[:32]))


@functools.cache
def _schema() -> dict[str, Any]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    schema: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return schema
