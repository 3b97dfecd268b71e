"""Takes the file of an upload where the media are files of this machine: streamed, and hashed as it comes."""

import hashlib
from collections.abc import Iterator

from django.conf import settings
from django.core import signing
from django.core.files.base import File
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import ServiceError
from projects import assets
from projects.models import Asset
from render import objects
from render.storages.failures import StorageFailure
from render.storages.files import SignedFileStorage, read_upload_token

BLOCK_BYTES = 256 * 1024


class _AnyBody(BaseParser):
    """The body is the file, of whatever type it is said to be; it is read by the view."""

    media_type = "*/*"


class _ArrivingFile(File):  # type: ignore[type-arg]
    """Raises ServiceError size_mismatch or hash_mismatch while it is read: what was written of it is then dropped."""

    def __init__(self, request: HttpRequest, num_bytes: int, sha256: str) -> None:
        super().__init__(request, name="upload")  # type: ignore[arg-type]
        self._request, self._num_bytes, self._sha256 = request, num_bytes, sha256

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        digest, received = hashlib.sha256(), 0
        while block := self._request.read(BLOCK_BYTES):
            received += len(block)
            if received > self._num_bytes:
                break
            digest.update(block)
            yield block
        if received != self._num_bytes:
            detail = f"The body has {received} bytes or more, {self._num_bytes} were announced."
            raise ServiceError("size_mismatch", detail, param="bytes")
        if self._sha256 and digest.hexdigest() != self._sha256:
            raise ServiceError("hash_mismatch", "The body's SHA-256 is not the announced one.", param="sha256")


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
            )
        },
    )
    def put(self, request: Request, token: str) -> Response:
        """`url` of an upload leads here. A body of another size or hash is refused, and may be sent again."""
        asset = get_object_or_404(Asset, key=_name_in(token), deleted_at=None)
        if asset.uploaded_at is not None or asset.state != Asset.State.WAITING:
            raise ServiceError("invalid_state", "This file has arrived already.")
        storage = objects.storage_of(asset.key)
        if not isinstance(storage, SignedFileStorage):
            raise NotFound
        try:
            storage.save(asset.key, _ArrivingFile(request._request, asset.num_bytes, asset.sha256))
        except StorageFailure as failure:
            raise ServiceError("unavailable", "The file could not be stored.") from failure
        assets.arrived(asset)
        return Response({"upload_id": asset.pk, "state": Asset.State.WAITING})


def _name_in(token: str) -> str:
    try:
        return read_upload_token(token, seconds=settings.UPLOAD_SECONDS)
    except signing.SignatureExpired:
        raise ServiceError("upload_expired", "The time for this upload is over; announce it again.") from None
    except signing.BadSignature:
        raise NotFound from None
