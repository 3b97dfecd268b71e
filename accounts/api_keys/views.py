"""The endpoints under /api/v1/keys: a tenant's own API keys."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view, inline_serializer
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import audit, networks
from accounts.api.fields import FiniteFloatField, UniqueListField
from accounts.api.idempotency import idempotent
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.api_keys import delegation
from accounts.api_keys import keys
from accounts.errors import ServiceError
from accounts.models import ApiKey, AuditEntry, Scope

MAX_NETWORKS = 50
MAX_SCOPES = 50  # in one request, repeated ones too
MAX_OVERLAP_HOURS = 7 * 24


class NetworkField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        try:
            return str(networks.parse_network(super().to_internal_value(data)))
        except ValueError:
            raise serializers.ValidationError("Not an address or a network in CIDR notation.", code="invalid") from None


class ExpiryField(serializers.DateTimeField):
    def to_internal_value(self, value: Any) -> datetime:
        moment = super().to_internal_value(value)
        if moment <= timezone.now():
            raise serializers.ValidationError("Must be in the future.", code="min_value")
        return moment


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
    allowed_ips = UniqueListField(
        child=NetworkField(max_length=50),
        max_length=MAX_NETWORKS,
        required=False,
        help_text="Within those of the key that asks. Default: the same.",
    )
    expires_at = ExpiryField(
        required=False, allow_null=True, help_text="Not later than that of the key that asks. Default: the same."
    )


class ApiKeyChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    allowed_ips = UniqueListField(
        child=NetworkField(max_length=50),
        max_length=MAX_NETWORKS,
        required=False,
        help_text="Within those of the key that asks.",
    )


class RotationRequest(serializers.Serializer[Any]):
    overlap_hours = FiniteFloatField(
        min_value=0, max_value=MAX_OVERLAP_HOURS, default=24, help_text="How long the old key opens beside the new one."
    )
    expires_at = ExpiryField(
        required=False,
        allow_null=True,
        help_text="Of the new key, not later than that of the key that asks. Default: that of the old key, as it was "
        "before it was rotated.",
    )


@extend_schema(tags=["keys"])
@extend_schema_view(
    list=extend_schema(summary="List API keys, newest first"),
    retrieve=extend_schema(summary="Get an API key"),
)
class ApiKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, KeyedView, GenericViewSet[ApiKey]):
    serializer_class = ApiKeySerializer
    pagination_class = EnvelopePagination
    required_scopes = dict.fromkeys(
        ("list", "retrieve", "create", "partial_update", "destroy", "rotate", "metadata"), Scope.KEYS_ADMIN
    )

    def get_queryset(self) -> QuerySet[ApiKey]:
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        found = ApiKey.objects.filter(tenant=self.api_key.tenant)
        # What is live is not there for a test key, as everywhere.
        return found.filter(mode=ApiKey.Mode.TEST) if self.api_key.is_test else found

    @extend_schema(summary="Make an API key", request=ApiKeyRequest, responses={201: NewApiKeySerializer})
    @idempotent(secrets=("key",))
    @transaction.atomic
    def create(self, request: Request) -> Response:
        """A key gives away no more than it has: no other scopes, networks or expiry, and a test key no live key."""
        wanted = ApiKeyRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        asking, _ = delegation.lock(self.api_key)
        given = {
            "mode": asking.mode,
            "scopes": [scope for scope in asking.scopes if scope != Scope.KEYS_ADMIN],
            "allowed_ips": asking.allowed_ips,
            "expires_at": asking.own_expiry,
            **wanted.validated_data,
        }
        if not given["scopes"]:
            raise ServiceError("invalid", "scopes: The key that asks has none to give by default.", param="scopes")
        delegation.require_mode(asking, given["mode"])
        delegation.require_scopes(asking, given["scopes"])
        delegation.require_networks(asking, given["allowed_ips"])
        delegation.require_expiry(asking, given["expires_at"])
        usable = ApiKey.objects.filter(keys.USABLE, tenant=asking.tenant, mode=given["mode"])
        if usable.count() >= settings.MAX_API_KEYS:
            detail = f"There are {settings.MAX_API_KEYS} {given['mode']} keys already; revoke one that is not needed."
            raise ServiceError("invalid_state", detail)
        _require_few_changes(asking)
        made, plain = keys.issue(asking.tenant, **given)
        return self._made("key.created", request, made, plain)

    @extend_schema(summary="Rename an API key or change its networks", request=ApiKeyChange)
    @transaction.atomic
    def partial_update(self, request: Request, pk: str) -> Response:
        changes = ApiKeyChange(data=request.data)
        changes.is_valid(raise_exception=True)
        asking, key = delegation.lock(self.api_key, self.get_object())
        delegation.require_may_touch(asking, key)
        if "allowed_ips" in changes.validated_data:
            delegation.require_networks(asking, changes.validated_data["allowed_ips"])
        for name, value in changes.validated_data.items():
            setattr(key, name, value)
        if changes.validated_data:
            _require_few_changes(asking)
            key.save(update_fields=list(changes.validated_data))
            self._record("key.changed", request, key, **changes.validated_data)
        return Response(ApiKeySerializer(key).data)

    @extend_schema(summary="Replace an API key", request=RotationRequest, responses={201: NewApiKeySerializer})
    @action(detail=True, methods=["post"])
    @idempotent(secrets=("key",))
    @transaction.atomic
    def rotate(self, request: Request, pk: str) -> Response:
        """The successor may do the same. Both keys work until `overlap_hours` have passed, or the old one expires.

        If the answer was lost, ask again, and revoke the successor that you do not know: its `rotated_from` is the old
        key.
        """
        wanted = RotationRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        overlap = timedelta(hours=wanted.validated_data["overlap_hours"])
        asking, key = delegation.lock(self.api_key, self.get_object())
        expires_at = wanted.validated_data.get("expires_at", key.own_expiry)
        delegation.require_may_touch(asking, key)
        delegation.require_networks(asking, key.allowed_ips)
        delegation.require_expiry(asking, expires_at)
        _require_few_changes(asking)
        made, plain = keys.rotate(key, overlap=overlap, expires_at=expires_at)
        return self._made("key.rotated", request, made, plain, overlap_hours=wanted.validated_data["overlap_hours"])

    @extend_schema(
        summary="Revoke an API key",
        responses={200: inline_serializer("Revoked", {"detail": serializers.CharField()})},
    )
    @transaction.atomic
    def destroy(self, request: Request, pk: str) -> Response:
        """At once and for good, also the key that asks."""
        asking, key = delegation.lock(self.api_key, self.get_object())
        delegation.require_may_touch(asking, key)
        if keys.revoke(key):
            self._record("key.revoked", request, key)
        return Response({"detail": "API key revoked"})

    def _made(self, action: str, request: Request, made: ApiKey, plain: str, **details: Any) -> Response:
        made.refresh_from_db()
        made.key = plain  # type: ignore[attr-defined]
        self._record(action, request, made, **details)
        return Response(NewApiKeySerializer(made).data, status=status.HTTP_201_CREATED)

    def _record(self, action: str, request: Request, key: ApiKey, **details: Any) -> None:
        asking = self.api_key
        audit.record(action, key, request=request._request, api_key=asking, tenant=asking.tenant, details=details)


def _require_few_changes(asking: ApiKey) -> None:
    """Not for revoking, which is possible at any time: a key may be in wrong hands."""
    lately = AuditEntry.objects.filter(tenant=asking.tenant, created_at__gt=Now() - timedelta(days=1))
    if lately.filter(api_key__mode=asking.mode).count() >= settings.MAX_KEY_CHANGES:
        times = f"{settings.MAX_KEY_CHANGES} times in a day"
        raise ServiceError("too_many_changes", f"{asking.mode} keys have made or changed keys {times}; go on tomorrow.")
