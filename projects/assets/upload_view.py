"""The URL to which the file of an upload is sent, if the media are files of this machine.

In the web process `creatorify.asgi_middleware.upload_receiver` receives the PUT before Django does, which would keep
the whole body first, and `cross_origin` beside it adds the headers for pages of other sites. This view documents the
PUT, answers other methods, and receives the PUT where Django runs without those layers: in tests and `runserver`.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from projects.assets.arrivals import BLOCK_BYTES, Arrival
from projects.models import Asset
from projects.presentation.serializers import PROBLEM


class _AnyBody(BaseParser):
    """Leaves the body, which is the file, to the view."""

    media_type = "*/*"


class UploadContentView(APIView):
    """The address itself is the permission: it is signed, for one file, of one size, for a while."""

    authentication_classes = []
    permission_classes = [AllowAny]
    parser_classes = [_AnyBody]

    @extend_schema(
        operation_id="v1_uploads_content",
        tags=["uploads"],
        summary="Send an announced file",
        auth=[],
        request={"*/*": OpenApiTypes.BINARY},
        responses={
            200: inline_serializer(
                "Received", {"upload_id": serializers.UUIDField(), "state": serializers.ChoiceField(["waiting"])}
            ),
            (403, "application/problem+json"): PROBLEM,
            (410, "application/problem+json"): PROBLEM,
        },
    )
    def put(self, request: Request, token: str) -> Response:
        """`url` of an upload leads here. A body of another size or hash is refused, and may be sent again.

        The whole body must arrive before the asset's `expires_at`; a body that is still arriving then is refused with
        410. The first complete body counts, later ones are refused with 409. With a wrong or an expired address, or
        another `Content-Length` than announced, the answer comes before the body is read, and ends the connection.
        """
        arrival = Arrival(token)
        try:
            arrival.expect(int(request.META.get("CONTENT_LENGTH") or 0))
            arrival.begin()
            while block := request._request.read(BLOCK_BYTES):
                arrival.count(len(block))
                arrival.write(block)
            return Response(received(arrival.finish()))
        finally:
            arrival.abandon()

    @extend_schema(exclude=True)
    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """What a browser asks before a page may send the file. It is told nothing of the upload."""
        return Response(status=204)


def received(asset: Asset) -> dict[str, str]:
    """The answer when the whole file has arrived."""
    return {"upload_id": str(asset.pk), "state": Asset.State.WAITING}
