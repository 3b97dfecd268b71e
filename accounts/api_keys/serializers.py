"""Requests and responses of the endpoints under /api/v1/keys."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts import networks
from accounts.api.fields import ChoiceField, UniqueListField
from accounts.models import ApiKey, Scope

MAX_NETWORKS = 50
MAX_SCOPES = 50  # per request, repeated ones included
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
    scopes = serializers.ListField(child=ChoiceField(choices=Scope.choices), allow_empty=False)
    allowed_ips = serializers.ListField(
        child=NetworkField(max_length=50),
        max_length=MAX_NETWORKS,
        help_text="Networks from which the key may be used. Empty: from anywhere.",
    )
    rotated_from = serializers.PrimaryKeyRelatedField[ApiKey](
        read_only=True, allow_null=True, pk_field=serializers.UUIDField()
    )

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "prefix",
            "name",
            "mode",
            "scopes",
            "allowed_ips",
            "rotated_from",
            "created_at",
            "last_used_at",
            "expires_at",
            "revoked_at",
        ]
        read_only_fields = ["mode", "expires_at", "revoked_at", "last_used_at", "created_at", "prefix"]


class NewApiKeySerializer(ApiKeySerializer):
    """With the key itself, which is shown only in this response."""

    key = serializers.CharField(read_only=True, allow_null=True, help_text="Shown once; null in a replay.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]


class ApiKeyRequest(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    mode = ChoiceField(
        choices=ApiKey.Mode.choices, required=False, help_text="Default: the mode of the key in this request."
    )
    scopes = UniqueListField(
        child=ChoiceField(choices=Scope.choices),
        allow_empty=False,
        max_length=MAX_SCOPES,
        required=False,
        help_text="Default: the scopes of the key in this request, without keys:admin.",
    )
    allowed_ips = UniqueListField(
        child=NetworkField(max_length=50),
        max_length=MAX_NETWORKS,
        required=False,
        help_text="Within the networks of the key in this request. Default: the same networks.",
    )
    expires_at = ExpiryField(
        required=False,
        allow_null=True,
        help_text="Not later than the expiry of the key in this request. Default: the same time.",
    )


class ApiKeyChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    allowed_ips = UniqueListField(
        child=NetworkField(max_length=50),
        max_length=MAX_NETWORKS,
        required=False,
        help_text="Within the networks of the key in this request.",
    )


class RotationRequest(serializers.Serializer[Any]):
    overlap_hours = serializers.FloatField(
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        default=24,
        help_text="How long the old key still works beside the new one.",
    )
    expires_at = ExpiryField(
        required=False,
        allow_null=True,
        help_text="Expiry of the new key, not later than that of the key in this request. Default: the expiry that the "
        "old key had before its rotation.",
    )
