"""What the endpoints of webhooks accept and answer."""

from typing import Any

from rest_framework import serializers

from accounts.api.fields import ChoiceField, UniqueListField
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, default_events
from projects.webhooks.fields import webhook_url_field

MAX_EVENTS = 50  # In one request, repeated ones included.
MAX_OVERLAP_HOURS = 7 * 24
EVENT_TYPES = [(value, label) for value, label in EventType.choices if value != EventType.PING]


class EndpointRequest(serializers.Serializer[Any]):
    url = webhook_url_field(help_text="https; receives a POST for each event.")
    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    events = UniqueListField(
        child=ChoiceField(choices=EVENT_TYPES),
        allow_empty=False,
        max_length=MAX_EVENTS,
        required=False,
        help_text=f"Default: {', '.join(default_events())}.",
    )


class EndpointChange(EndpointRequest):
    url = webhook_url_field(required=False)
    enabled = serializers.BooleanField(required=False, help_text="True enables it again, false disables it.")


class EndpointSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    url = serializers.SerializerMethodField(
        help_text="Null for the endpoint that stands for each project's own `webhook_url`; made with the first one."
    )
    events = serializers.ListField(child=ChoiceField(choices=EVENT_TYPES))
    enabled = serializers.SerializerMethodField()
    disabled_reason = serializers.CharField(
        help_text="`failing`: for five days. `gone`: it answered 410. `asked`: by you. Empty while it is enabled."
    )

    class Meta:
        model = WebhookEndpoint
        fields = [
            "id",
            "url",
            "description",
            "events",
            "enabled",
            "disabled_at",
            "disabled_reason",
            "failing_since",
            "created_at",
        ]

    def get_url(self, endpoint: WebhookEndpoint) -> str | None:
        return endpoint.url or None

    def get_enabled(self, endpoint: WebhookEndpoint) -> bool:
        return endpoint.disabled_at is None


class NewEndpointSerializer(EndpointSerializer):
    """With the secret, which is shown only here."""

    secret = serializers.CharField(read_only=True, allow_null=True, help_text="Shown once; null in a replay.")

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]


class SecretRotation(serializers.Serializer[Any]):
    overlap_hours = serializers.FloatField(
        min_value=0, max_value=MAX_OVERLAP_HOURS, default=24, help_text="How long messages carry both signatures."
    )


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    endpoint = serializers.UUIDField(source="endpoint_id")
    url = serializers.CharField(source="receiver", help_text="Where it is sent.")
    type = serializers.CharField(source="event.type")
    version = serializers.IntegerField(source="event.version")
    project_id = serializers.UUIDField(source="event.project_id", allow_null=True)

    class Meta:
        model = WebhookDelivery
        fields = [
            "id",
            "endpoint",
            "url",
            "type",
            "version",
            "project_id",
            "tries",
            "delivered_at",
            "next_try_at",
            "last_status",
            "last_error",
            "created_at",
        ]
        extra_kwargs = {
            "last_error": {
                "help_text": "What went wrong at the last try, in a sentence; empty once a try has succeeded."
            },
        }


class DeliveryQuery(serializers.Serializer[Any]):
    delivered = serializers.BooleanField(
        required=False, help_text="Only those that were delivered, or only those that were not."
    )
