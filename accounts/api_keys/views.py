"""The endpoints under /api/v1/keys: a tenant's own API keys."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from drf_spectacular.utils import extend_schema, extend_schema_view, inline_serializer
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import audit
from accounts.api.idempotency import idempotent
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.api_keys import delegation, keys
from accounts.api_keys.serializers import (
    ApiKeyChange,
    ApiKeyRequest,
    ApiKeySerializer,
    NewApiKeySerializer,
    RotationRequest,
)
from accounts.errors import ServiceError
from accounts.models import ApiKey, AuditEntry, Scope


@extend_schema(tags=["keys"])
@extend_schema_view(
    list=extend_schema(summary="List API keys, newest first"),
    retrieve=extend_schema(summary="Get an API key"),
)
class ApiKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, KeyedView, GenericViewSet[ApiKey]):
    queryset = ApiKey.objects.none()
    serializer_class = ApiKeySerializer
    pagination_class = EnvelopePagination
    required_scopes = {
        "list": Scope.KEYS_ADMIN,
        "retrieve": Scope.KEYS_ADMIN,
        "create": Scope.KEYS_ADMIN,
        "partial_update": Scope.KEYS_ADMIN,
        "destroy": Scope.KEYS_ADMIN,
        "rotate": Scope.KEYS_ADMIN,
        "metadata": Scope.KEYS_ADMIN,
    }

    def get_queryset(self) -> QuerySet[ApiKey]:
        rows = ApiKey.objects.filter(tenant=self.api_key.tenant)
        # A test key sees only what belongs to test keys, here as everywhere.
        return rows.filter(mode=ApiKey.Mode.TEST) if self.api_key.is_test else rows

    @extend_schema(summary="Make an API key", request=ApiKeyRequest, responses={201: NewApiKeySerializer})
    @idempotent(secrets=("key",))
    @transaction.atomic
    def create(self, request: Request) -> Response:
        """A key gives only what it has itself: no other scopes or networks, no later expiry; a test key no live key."""
        serializer = ApiKeyRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        caller, _ = delegation.lock(self.api_key)
        values = {
            "mode": caller.mode,
            "scopes": [scope for scope in caller.scopes if scope != Scope.KEYS_ADMIN],
            "allowed_ips": caller.allowed_ips,
            "expires_at": caller.own_expiry,
            **serializer.validated_data,
        }
        if not values["scopes"]:
            detail = "scopes: The key in this request has no scope but keys:admin, so there is no default."
            raise ServiceError("invalid", detail, param="scopes")
        delegation.require_mode(caller, values["mode"])
        delegation.require_scopes(caller, values["scopes"])
        delegation.require_networks(caller, values["allowed_ips"])
        delegation.require_expiry(caller, values["expires_at"])
        usable = ApiKey.objects.filter(keys.USABLE, tenant=caller.tenant, mode=values["mode"])
        if usable.count() >= settings.MAX_API_KEYS:
            detail = f"There are {settings.MAX_API_KEYS} {values['mode']} keys already; revoke one that is not needed."
            raise ServiceError("invalid_state", detail)
        _require_few_changes(caller)
        key, plain = keys.issue(caller.tenant, **values)
        return self._issued("key.created", request, key, plain)

    @extend_schema(summary="Rename an API key or change its networks", request=ApiKeyChange)
    @transaction.atomic
    def partial_update(self, request: Request, pk: str) -> Response:
        serializer = ApiKeyChange(data=request.data)
        serializer.is_valid(raise_exception=True)
        changes = serializer.validated_data
        caller, key = delegation.lock(self.api_key, self.get_object())
        delegation.require_may_manage(caller, key)
        if "allowed_ips" in changes:
            delegation.require_networks(caller, changes["allowed_ips"])
        for name, value in changes.items():
            setattr(key, name, value)
        if changes:
            _require_few_changes(caller)
            key.save(update_fields=list(changes))
            self._record("key.changed", request, key, **changes)
        return Response(ApiKeySerializer(key).data)

    @extend_schema(summary="Replace an API key", request=RotationRequest, responses={201: NewApiKeySerializer})
    @action(detail=True, methods=["post"])
    @idempotent(secrets=("key",))
    @transaction.atomic
    def rotate(self, request: Request, pk: str) -> Response:
        """The new key has the same rights. Both work until `overlap_hours` have passed or the old one expires.

        If you did not receive the response, rotate again and revoke the new key that you do not know: its
        `rotated_from` is the old key.
        """
        serializer = RotationRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        overlap_hours = serializer.validated_data["overlap_hours"]
        caller, key = delegation.lock(self.api_key, self.get_object())
        expires_at = serializer.validated_data.get("expires_at", key.own_expiry)
        delegation.require_may_manage(caller, key)
        delegation.require_networks(caller, key.allowed_ips)
        delegation.require_expiry(caller, expires_at)
        _require_few_changes(caller)
        successor, plain = keys.rotate(key, overlap=timedelta(hours=overlap_hours), expires_at=expires_at)
        return self._issued("key.rotated", request, successor, plain, overlap_hours=overlap_hours)

    @extend_schema(
        summary="Revoke an API key",
        responses={200: inline_serializer("Revoked", {"detail": serializers.CharField()})},
    )
    @transaction.atomic
    def destroy(self, request: Request, pk: str) -> Response:
        """At once and for good. A key may revoke itself."""
        caller, key = delegation.lock(self.api_key, self.get_object())
        delegation.require_may_manage(caller, key)
        if keys.revoke(key):
            self._record("key.revoked", request, key)
        return Response({"detail": "API key revoked"})

    def _issued(self, action: str, request: Request, key: ApiKey, plain: str, **details: Any) -> Response:
        key.key = plain  # type: ignore[attr-defined]  # For the serializer.
        self._record(action, request, key, **details)
        return Response(NewApiKeySerializer(key).data, status=status.HTTP_201_CREATED)

    def _record(self, action: str, request: Request, key: ApiKey, **details: Any) -> None:
        caller = self.api_key
        audit.record(action, key, request=request._request, api_key=caller, tenant=caller.tenant, details=details)


def _require_few_changes(caller: ApiKey) -> None:
    """Raises ServiceError `too_many_changes`. Revoking does not call this: a stolen key must always be revocable."""
    recent = AuditEntry.objects.filter(tenant=caller.tenant, created_at__gt=Now() - timedelta(days=1))
    if recent.filter(api_key__mode=caller.mode).count() >= settings.MAX_KEY_CHANGES:
        detail = (
            f"{caller.mode} keys have made or changed {settings.MAX_KEY_CHANGES} keys in a day; try again tomorrow."
        )
        raise ServiceError("too_many_changes", detail)
