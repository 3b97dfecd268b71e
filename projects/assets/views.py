"""The endpoints under /api/v1/uploads and /api/v1/assets."""

from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api.idempotency import idempotent
from accounts.api.names import RULE, is_name
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.errors import PROBLEM_TYPES, ServiceError, problem
from accounts.models import Scope
from projects.assets import services as assets
from projects.assets.source_urls import ASSET
from projects.assets.upload_types import announced_type
from projects.models import Asset
from projects.presentation.serializers import PROBLEM, ProblemField
from render.storage import media
from render.storage.backends.files import SignedFileStorage
from render.storage.links import DirectUpload

STATES = Asset.State.choices
NO_MEDIA = (
    "This is the type of a web page, or no type. Give that of an image, a video or a sound, such as image/jpeg,"
    " video/mp4 or audio/wav, or leave it out: the content decides."
)
WAITING_FOR = ["file", "check", "storage"]


class UploadRequest(serializers.Serializer[Any]):
    filename = serializers.CharField(max_length=200)
    content_type = serializers.CharField(
        max_length=255,
        required=False,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        help_text="As your browser calls it, such as image/jpeg, or `audio/webm;codecs=opus`, or nothing. The file's"
        " content decides what it is. Send it under the type in `headers`.",
    )
    bytes = serializers.IntegerField(
        min_value=1,
        max_value=2**40,
        help_text="The size of the file, exactly.",
        error_messages={"min_value": "An empty file (0 bytes) cannot be used."},
    )
    sha256 = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        required=False,
        help_text="Of the file, in hex. A file that you have sent before is then found, and not sent again.",
        error_messages={"invalid": "Must be 64 hexadecimal digits, in lower case."},
    )

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        if not is_name(values["filename"]):
            raise serializers.ValidationError({"filename": [f"A file name may have {RULE}."]}, code="invalid")
        said = values.get("content_type") or ""
        content_type = announced_type(said, values["filename"]) if is_name(said) else None
        if content_type is None:
            raise serializers.ValidationError({"content_type": [NO_MEDIA]}, code="invalid")
        return {**values, "content_type": content_type}


class AssetSerializer(serializers.ModelSerializer[Asset]):
    reference = serializers.SerializerMethodField(help_text="What to give as `image_url` or `audio_url`.")
    bytes = serializers.IntegerField(source="num_bytes")
    state = serializers.SerializerMethodField()
    waiting_for = serializers.SerializerMethodField(
        help_text="While it is `waiting`: its file was not sent, its check comes next, or the media storage is away."
    )
    error = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField(help_text="The file, once it is ready. The link expires.")
    kind = serializers.SerializerMethodField()
    sha256 = serializers.SerializerMethodField()
    duration_seconds = serializers.FloatField(source="facts.duration_seconds", default=None, allow_null=True)
    width = serializers.IntegerField(source="facts.width", default=None, allow_null=True)
    height = serializers.IntegerField(source="facts.height", default=None, allow_null=True)
    faces = serializers.ListField(
        source="facts.faces",
        default=None,
        allow_null=True,
        child=serializers.DictField(child=serializers.FloatField()),
        help_text="Boxes as shares of the upright picture: x, y, width, height; the widest first.",
    )

    class Meta:
        model = Asset
        fields = [
            *("id", "reference", "state", "waiting_for", "kind", "origin", "filename", "content_type", "bytes"),
            *("sha256", "url"),
            *("duration_seconds", "width", "height", "faces", "error", "created_at", "uploaded_at", "expires_at"),
        ]

    def get_reference(self, asset: Asset) -> str:
        return f"{ASSET}{asset.pk}"

    @extend_schema_field(serializers.ChoiceField(choices=STATES))
    def get_state(self, asset: Asset) -> str:
        is_late = asset.expires_at is not None and asset.expires_at < timezone.now() and asset.uploaded_at is None
        return Asset.State.EXPIRED if is_late and asset.state == Asset.State.WAITING else asset.state

    @extend_schema_field(serializers.ChoiceField(choices=WAITING_FOR, allow_null=True))
    def get_waiting_for(self, asset: Asset) -> str | None:
        if self.get_state(asset) != Asset.State.WAITING:
            return None
        if asset.uploaded_at is None:
            return "file"
        return "storage" if asset.storage_failures else "check"

    @extend_schema_field(serializers.ChoiceField(choices=Asset.Kind.choices, allow_null=True))
    def get_kind(self, asset: Asset) -> str | None:
        return asset.kind or None

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_sha256(self, asset: Asset) -> str | None:
        return asset.sha256 or None

    @extend_schema_field(ProblemField(allow_null=True))
    def get_error(self, asset: Asset) -> dict[str, Any] | None:
        if not asset.error_code:
            return None
        return problem(asset.error_code if asset.error_code in PROBLEM_TYPES else "internal", asset.error_message)

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_url(self, asset: Asset) -> str | None:
        if asset.state != Asset.State.READY:
            return None
        return urljoin(f"{self.context['base_url']}/", media.link(asset.key))


class UploadSerializer(serializers.Serializer[dict[str, Any]]):
    """The one request that brings the file; its members are null when nothing is to be sent any more."""

    upload_id = serializers.UUIDField(source="asset.id")
    method = serializers.ChoiceField(choices=["PUT", "POST"], allow_null=True)
    url = serializers.URLField(allow_null=True)
    headers = serializers.DictField(child=serializers.CharField(), allow_null=True)
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.CharField(),
        allow_null=True,
        help_text="With POST: of a multipart form, whose last part, `file`, is the file. With PUT the file is all.",
    )
    expires_at = serializers.DateTimeField(allow_null=True)
    asset = AssetSerializer()


class OwnAssets(KeyedView, GenericViewSet[Asset]):
    serializer_class: type[serializers.BaseSerializer[Asset]] = AssetSerializer
    pagination_class = EnvelopePagination

    def get_queryset(self) -> QuerySet[Asset]:
        if getattr(self, "swagger_fake_view", False):
            return Asset.objects.none()
        return assets.own(self.api_key)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "base_url": self.base_url}


@extend_schema(tags=["uploads"])
class UploadViewSet(OwnAssets):
    required_scopes = dict.fromkeys(("create", "retrieve", "complete"), Scope.UPLOADS_WRITE)

    @extend_schema(
        summary="Announce a file and learn where to send it",
        request=UploadRequest,
        parameters=[OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[201])],
        responses={201: UploadSerializer, 200: UploadSerializer},
    )
    @idempotent()
    @transaction.atomic
    def create(self, request: Request) -> Response:
        """200, and nothing to be sent, if you have sent the same file before."""
        wanted = UploadRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = wanted.validated_data
        asset, is_new = assets.announce(
            self.api_key,
            filename=given["filename"],
            content_type=given["content_type"],
            num_bytes=given["bytes"],
            sha256=given.get("sha256", ""),
        )
        if not is_new:
            return Response(self._body(asset))
        direct = media.storage_of(asset.key).direct_upload(  # type: ignore[attr-defined]
            asset.key,
            content_type=asset.content_type,
            num_bytes=asset.num_bytes,
            sha256=asset.sha256,
            seconds=settings.UPLOAD_SECONDS,
        )
        return Response(self._body(asset, direct), status=201, headers={"Location": self._location(asset)})

    @extend_schema(summary="Get an upload's state", responses=UploadSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self._body(self.get_object()))

    @extend_schema(
        summary="Say that the file was sent",
        request=None,
        responses={202: UploadSerializer, (410, "application/problem+json"): PROBLEM},
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def complete(self, request: Request, pk: str) -> Response:
        """It is then looked for and checked, which takes seconds: ask again until its state is not `waiting` any more.

        A file that is not there makes it `errored`, with the code `upload_missing`. Where `url` leads to this service
        itself, that is known at once: 409, and the file can still be sent.
        """
        asset = self.get_object()
        if asset.state == Asset.State.WAITING and asset.uploaded_at is None:
            if isinstance(media.storage_of(asset.key), SignedFileStorage):
                raise ServiceError("invalid_state", "The file has not arrived.")
            assets.arrived(asset)
        return Response(self._body(asset), status=202)

    def _body(self, asset: Asset, direct: DirectUpload | None = None) -> dict[str, Any]:
        upload = {
            "asset": asset,
            "method": direct and direct.method,
            "url": direct and urljoin(f"{self.base_url}/", direct.url),
            "headers": direct and direct.headers,
            "fields": direct and direct.fields,
            "expires_at": asset.expires_at if asset.uploaded_at is None else None,
        }
        return dict(UploadSerializer(upload, context=self.get_serializer_context()).data)

    def _location(self, asset: Asset) -> str:
        path = reverse("upload-detail", kwargs={"pk": asset.pk})
        return urljoin(f"{self.base_url}/", path)


@extend_schema(tags=["assets"])
@extend_schema_view(
    list=extend_schema(summary="List assets, newest first"),
    retrieve=extend_schema(summary="Get an asset"),
)
class AssetViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, OwnAssets):
    required_scopes = {
        "list": Scope.PROJECTS_READ,
        "retrieve": Scope.PROJECTS_READ,
        "destroy": Scope.UPLOADS_WRITE,
    }

    @extend_schema(
        summary="Delete an asset",
        responses={200: inline_serializer("DeletedAsset", {"detail": serializers.CharField()})},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Films that were made with it stay."""
        assets.delete(self.get_object())
        return Response({"detail": "Asset deleted"})
