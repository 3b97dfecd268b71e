"""The endpoints under /api/v1/uploads and /api/v1/assets."""

from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api.idempotency import idempotent
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.errors import ServiceError
from accounts.models import Scope
from projects.assets import services as assets
from projects.assets.serializers import AssetSerializer, UploadRequest, UploadSerializer
from projects.models import Asset
from projects.presentation.serializers import PROBLEM
from render.storage import media
from render.storage.links import DirectUpload


class OwnAssets(KeyedView, GenericViewSet[Asset]):
    queryset = Asset.objects.none()
    serializer_class: type[serializers.BaseSerializer[Asset]] = AssetSerializer
    pagination_class = EnvelopePagination

    def get_queryset(self) -> QuerySet[Asset]:
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
        serializer = UploadRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        asset, is_new = assets.announce(
            self.api_key,
            filename=fields["filename"],
            content_type=fields["content_type"],
            num_bytes=fields["bytes"],
            sha256=fields.get("sha256", ""),
        )
        if not is_new:
            return Response(self._body(asset))
        direct = media.storage_of(asset.key).direct_upload(
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
        """The file is then checked, which takes seconds: poll until the state is no longer `waiting`.

        If the file is missing, the state becomes `errored`, with the code `upload_missing`. Where `url` leads to this
        service itself, that is known at once: the answer is 409, and the file can still be sent.
        """
        asset = self.get_object()
        if asset.state == Asset.State.WAITING and asset.uploaded_at is None:
            if media.storage_of(asset.key).service_receives_uploads:
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
        """Videos that were made with it stay."""
        assets.delete(self.get_object())
        return Response({"detail": "Asset deleted"})
