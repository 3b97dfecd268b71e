"""The OpenAPI document over HTTP: made once in each process, however often and in whichever form it is asked for.

To make it takes a quarter of a second of CPU, and anybody may ask.
"""

import functools
import hashlib
from threading import Lock
from typing import Any, NamedTuple

from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

_making = Lock()


class Document(NamedTuple):
    body: bytes
    etag: str


class SchemaView(SpectacularAPIView):
    """As YAML or JSON. There is one version, in one language: what else a query asks for is not looked at."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        renderer: BaseRenderer = request.accepted_renderer  # type: ignore[attr-defined]
        with _making:  # Those who ask at the same time wait for the one who makes it.
            document = rendered(type(renderer))
        unchanged = get_conditional_response(request._request, document.etag)
        response = unchanged or HttpResponse(document.body, content_type=renderer.media_type)
        response["ETag"] = document.etag
        response["Cache-Control"] = "public, max-age=300"
        response["Content-Disposition"] = f'inline; filename="creatorify.{renderer.format}"'
        return response


@functools.cache
def rendered(renderer: type[BaseRenderer]) -> Document:
    """One for each of the four renderers."""
    body: bytes = renderer().render(_schema(), renderer.media_type, {})
    return Document(body, quote_etag(hashlib.sha256(body).hexdigest()[:32]))


@functools.cache
def _schema() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made
