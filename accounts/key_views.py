"""The endpoints under /api/v1/keys: a tenant's own API keys."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import audit, keys
from accounts.errors import ServiceError
from accounts.fields import FiniteFloatField, UniqueListField
from accounts.idempotency import idempotent
from accounts.keyed_view import KeyedView
from accounts.models import ApiKey, Scope
from accounts.pagination import EnvelopePagination

MAX_NETWORKS = 50
MAX_SCOPES = 50  # in one request, repeated ones too
MAX_OVERLAP_HOURS = 7 * 24
NO_STORE = {"Cache-Control": "no-store"}


class NetworkField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        try:
            return keys.parse_network(super().to_internal_value(data))
        except ValueError:
            raise serializers.ValidationError("Not an address or a network in CIDR notation.", code="invalid") from None


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), allow_empty=False)
    allowed_ips = serializers.ListField(
        child=NetworkField(max_length=50), max_length=MAX_NETWORKS, help_text="None: it may be used from anywhere."
    )
    rotated_from = serializers.PrimaryKeyRelatedField[ApiKey](
        read_only=True, allow_null=True, pk_field=serializers.UUIDField()
    )

    class Meta:
        model = ApiKey
        fields = [
            *("id", "prefix", "name", "mode", "scopes", "allowed_ips", "rotated_from"),
            *("created_at", "last_used_at", "expires_at", "revoked_at"),
        ]
        read_only_fields = ["mode", "expires_at", "revoked_at", "last_used_at", "created_at", "prefix"]


class NewApiKeySerializer(ApiKeySerializer):
    """With the key itself, which is shown this once."""

    key = serializers.CharField(read_only=True, allow_null=True, help_text="Shown once; null in a replay.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]


class ApiKeyRequest(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    mode = serializers.ChoiceField(
        choices=ApiKey.Mode.choices, required=False, help_text="Default: that of the key that asks."
    )
    scopes = UniqueListField(
        child=serializers.ChoiceField(choices=Scope.choices),
        allow_empty=False,
        max_length=MAX_SCOPES,
        required=False,
        help_text="Default: those of the key that asks, without keys:admin.",
    )
    allowed_ips = UniqueListField(child=NetworkField(max_length=50), max_length=MAX_NETWORKS, required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)

    def validate_expires_at(self, value: Any) -> Any:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("Must be in the future.", code="min_value")
        return value


class ApiKeyChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    allowed_ips = UniqueListField(child=NetworkField(max_length=50), max_length=MAX_NETWORKS, required=False)


class RotationRequest(serializers.Serializer[Any]):
    overlap_hours = FiniteFloatField(
        min_value=0, max_value=MAX_OVERLAP_HOURS, default=24, help_text="How long the old key opens beside the new one."
    )


@extend_schema(tags=["keys"])
class ApiKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, KeyedView, GenericViewSet[ApiKey]):
    serializer_class = ApiKeySerializer
    pagination_class = EnvelopePagination
    required_scopes = dict.fromkeys(
        ("list", "retrieve", "create", "partial_update", "destroy", "rotate", "metadata"), Scope.KEYS_ADMIN
    )

    def get_queryset(self) -> QuerySet[ApiKey]:
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        return ApiKey.objects.filter(tenant=self.api_key.tenant)

    @extend_schema(summary="Make an API key", request=ApiKeyRequest, responses={201: NewApiKeySerializer})
    @idempotent(secrets=("key",))
    @transaction.atomic
    def create(self, request: Request) -> Response:
        """A key gives away no scope that it does not have, and a test key no live key."""
        wanted = ApiKeyRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        asking, given = self.api_key, dict(wanted.validated_data)
        given.setdefault("mode", asking.mode)
        given.setdefault("scopes", [scope for scope in asking.scopes if scope != Scope.KEYS_ADMIN])
        missing = sorted(set(given["scopes"]) - set(asking.scopes))
        if missing:
            raise ServiceError("insufficient_scope", f"This API key lacks {', '.join(missing)}.", param="scopes")
        if asking.is_test and given["mode"] != ApiKey.Mode.TEST:
            raise ServiceError("insufficient_scope", "A test key can make test keys only.", param="mode")
        made, plain = keys.make(asking.tenant, **given)
        return self._made("key.created", request, made, plain)

    @extend_schema(summary="Rename an API key or change its networks", request=ApiKeyChange)
    @transaction.atomic
    def partial_update(self, request: Request, pk: str) -> Response:
        changes = ApiKeyChange(data=request.data)
        changes.is_valid(raise_exception=True)
        key = self.get_object()
        for name, value in changes.validated_data.items():
            setattr(key, name, value)
        if changes.validated_data:
            key.save(update_fields=list(changes.validated_data))
            self._record("key.changed", request, key, **changes.validated_data)
        return Response(ApiKeySerializer(key).data)

    @extend_schema(summary="Replace an API key", request=RotationRequest, responses={201: NewApiKeySerializer})
    @action(detail=True, methods=["post"])
    @idempotent(secrets=("key",))
    @transaction.atomic
    def rotate(self, request: Request, pk: str) -> Response:
        """The successor may do the same. Both keys work until `overlap_hours` have passed."""
        wanted = RotationRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        overlap = timedelta(hours=wanted.validated_data["overlap_hours"])
        made, plain = keys.rotate(self.get_object(), overlap=overlap)
        return self._made("key.rotated", request, made, plain, overlap_hours=wanted.validated_data["overlap_hours"])

    @extend_schema(
        summary="Revoke an API key",
        responses={200: inline_serializer("Revoked", {"detail": serializers.CharField()})},
    )
    @transaction.atomic
    def destroy(self, request: Request, pk: str) -> Response:
        """At once and for good, also the key that asks."""
        key = self.get_object()
        if keys.revoke(key):
            self._record("key.revoked", request, key)
        return Response({"detail": "API key revoked"})

    def _made(self, action: str, request: Request, made: ApiKey, plain: str, **details: Any) -> Response:
        made.refresh_from_db()
        made.key = plain  # type: ignore[attr-defined]
        self._record(action, request, made, **details)
        return Response(NewApiKeySerializer(made).data, status=status.HTTP_201_CREATED, headers=NO_STORE)

    def _record(self, action: str, request: Request, key: ApiKey, **details: Any) -> None:
        asking = self.api_key
        audit.record(action, key, request=request._request, api_key=asking, tenant=asking.tenant, details=details)
