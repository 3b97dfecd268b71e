"""The endpoints under /api/v1/avatars: portraits with a name, for use in many projects."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view, inline_serializer
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api.idempotency import idempotent
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.errors import ServiceError
from accounts.models import Scope, Tenant
from projects.assets import references
from projects.assets.source_urls import ASSET, AVATAR, REFERENCE
from projects.models import Asset, Avatar
from render.engines import no_face

PARAM = "image_url"
MAX_AVATARS = 1000  # of a tenant, and as many of its test keys


class AvatarRequest(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    image_url = serializers.CharField(max_length=50, help_text="`asset:ID` of an image with a face.")

    def validate_image_url(self, value: str) -> str:
        if not (REFERENCE.fullmatch(value) and value.lower().startswith(ASSET)):
            raise serializers.ValidationError("Must be `asset:ID`; upload the image first.", code="invalid")
        return value


class AvatarChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)


class AvatarSerializer(serializers.ModelSerializer[Avatar]):
    reference = serializers.SerializerMethodField(help_text="What to give as `image_url` of a project.")
    image_url = serializers.SerializerMethodField()
    face = serializers.SerializerMethodField(help_text="Its box, as shares of the image: x, y, width, height.")

    class Meta:
        model = Avatar
        fields = ["id", "reference", "name", "image_url", "face", "created_at"]

    def get_reference(self, avatar: Avatar) -> str:
        return f"{AVATAR}{avatar.pk}"

    def get_image_url(self, avatar: Avatar) -> str:
        return f"{ASSET}{avatar.asset_id}"

    @extend_schema_field(serializers.DictField(child=serializers.FloatField()))
    def get_face(self, avatar: Avatar) -> dict[str, float]:
        box: dict[str, float] = avatar.asset.facts["faces"][0]
        return box


@extend_schema(tags=["avatars"])
@extend_schema_view(
    list=extend_schema(summary="List avatars, newest first"),
    retrieve=extend_schema(summary="Get an avatar"),
)
class AvatarViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, KeyedView, GenericViewSet[Avatar]):
    queryset = Avatar.objects.none()
    serializer_class = AvatarSerializer
    pagination_class = EnvelopePagination
    required_scopes = {
        "list": Scope.PROJECTS_READ,
        "retrieve": Scope.PROJECTS_READ,
        **dict.fromkeys(("create", "partial_update", "destroy"), Scope.UPLOADS_WRITE),
    }

    def get_queryset(self) -> QuerySet[Avatar]:
        key = self.api_key
        return Avatar.objects.filter(tenant=key.tenant_id, is_test=key.is_test).select_related("asset")

    @extend_schema(summary="Name a portrait", request=AvatarRequest, responses={201: AvatarSerializer})
    @idempotent()
    @transaction.atomic
    def create(self, request: Request) -> Response:
        serializer = AvatarRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        key, fields = self.api_key, serializer.validated_data
        # Locked, so that no other request adds one between the count and the insert.
        Tenant.objects.select_for_update(no_key=True).get(pk=key.tenant_id)
        if self.get_queryset().count() >= MAX_AVATARS:
            raise ServiceError("invalid_state", f"There are {MAX_AVATARS} avatars already; delete one first.")
        asset = references.find(key, fields["image_url"], param=PARAM)
        # Locked, so that it is not deleted meanwhile.
        asset = Asset.objects.select_for_update(no_key=True).get(pk=asset.pk)
        if asset.deleted_at is not None:
            raise ServiceError("asset_not_found", "There is no such asset.", param=PARAM)
        if asset.kind != Asset.Kind.IMAGE:
            raise ServiceError(
                "image_invalid",
                f"An avatar needs an image, and this asset is {references.KINDS[asset.kind]}.",
                param=PARAM,
            )
        if not asset.facts["faces"]:
            raise no_face.none_found(param=PARAM)
        avatar = Avatar.objects.create(tenant=key.tenant, is_test=key.is_test, name=fields["name"], asset=asset)
        return Response(AvatarSerializer(avatar).data, status=201)

    @extend_schema(summary="Rename an avatar", request=AvatarChange)
    def partial_update(self, request: Request, pk: str) -> Response:
        avatar = self.get_object()
        change = AvatarChange(data=request.data)
        change.is_valid(raise_exception=True)
        avatar.name = change.validated_data["name"]
        avatar.save(update_fields=["name"])
        return Response(AvatarSerializer(avatar).data)

    @extend_schema(
        summary="Delete an avatar",
        responses={200: inline_serializer("DeletedAvatar", {"detail": serializers.CharField()})},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Its image stays an asset, and videos that were made with it stay."""
        self.get_object().delete()
        return Response({"detail": "Avatar deleted"})
