"""The endpoints under /api/v1/webhook-endpoints and /api/v1/webhook-deliveries."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view, inline_serializer
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api import query_parameters
from accounts.api.fields import FiniteFloatField, UniqueListField
from accounts.api.idempotency import idempotent
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.errors import ServiceError
from accounts.models import Scope, Tenant
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, default_events, new_secret
from projects.webhooks import outbox
from projects.webhooks.fields import webhook_url_field

MAX_ENDPOINTS = 20
MAX_EVENTS = 50  # in one request, repeated ones too
MAX_OVERLAP_HOURS = 7 * 24
TOLD = [(value, label) for value, label in EventType.choices if value != EventType.PING]


class EndpointRequest(serializers.Serializer[Any]):
    url = webhook_url_field(help_text="https; it is sent a POST for each event.")
    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    events = UniqueListField(
        child=serializers.ChoiceField(choices=TOLD),
        allow_empty=False,
        max_length=MAX_EVENTS,
        required=False,
        help_text=f"Default: {', '.join(default_events())}.",
    )


class EndpointChange(EndpointRequest):
    url = webhook_url_field(required=False)
    enabled = serializers.BooleanField(required=False, help_text="Again, after it was disabled; or not any more.")


class EndpointSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    url = serializers.SerializerMethodField(
        help_text="Null, of one: it tells each project's own `webhook_url`, and came with the first of them."
    )
    events = serializers.ListField(child=serializers.ChoiceField(choices=TOLD))
    enabled = serializers.SerializerMethodField()
    disabled_reason = serializers.CharField(
        help_text="`failing`: for five days. `gone`: it answered 410. `asked`: by you. Empty while it is enabled."
    )

    class Meta:
        model = WebhookEndpoint
        fields = [
            *("id", "url", "description", "events", "enabled", "disabled_at", "disabled_reason", "failing_since"),
            "created_at",
        ]

    def get_url(self, endpoint: WebhookEndpoint) -> str | None:
        return endpoint.url or None

    def get_enabled(self, endpoint: WebhookEndpoint) -> bool:
        return endpoint.disabled_at is None


class NewEndpointSerializer(EndpointSerializer):
    """With the secret, which is shown this once."""

    secret = serializers.CharField(read_only=True, allow_null=True, help_text="Shown once; null in a replay.")

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]


class SecretRotation(serializers.Serializer[Any]):
    overlap_hours = FiniteFloatField(
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
            *("id", "endpoint", "url", "type", "version", "project_id", "tries", "delivered_at", "next_try_at"),
            *("last_status", "last_error", "created_at"),
        ]
        extra_kwargs = {
            "last_error": {
                "help_text": "What went wrong at the last try, in a sentence; empty once a try has succeeded."
            },
        }


class _OfTenant(KeyedView, GenericViewSet[Any]):
    pagination_class = EnvelopePagination

    def endpoints(self) -> QuerySet[WebhookEndpoint]:
        if getattr(self, "swagger_fake_view", False):
            return WebhookEndpoint.objects.none()
        key = self.api_key
        return WebhookEndpoint.objects.filter(tenant=key.tenant_id, is_test=key.is_test)


@extend_schema(tags=["webhooks"])
@extend_schema_view(
    list=extend_schema(summary="List endpoints, newest first"),
    retrieve=extend_schema(summary="Get an endpoint"),
)
class WebhookEndpointViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, _OfTenant):
    serializer_class = EndpointSerializer
    queryset = WebhookEndpoint.objects.none()  # For the documentation, which asks for the type of the id.
    required_scopes = dict.fromkeys(
        ("list", "retrieve", "create", "partial_update", "destroy", "rotate_secret", "test"), Scope.WEBHOOKS_WRITE
    )

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        return self.endpoints()

    @extend_schema(summary="Be told of events", request=EndpointRequest, responses={201: NewEndpointSerializer})
    @idempotent(secrets=("secret",))
    @transaction.atomic
    def create(self, request: Request) -> Response:
        """Messages follow the Standard Webhooks specification: verify them with one of its libraries and the secret."""
        wanted = EndpointRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        # So that the count stays as it is.
        Tenant.objects.select_for_update(no_key=True).get(pk=self.api_key.tenant_id)
        if self.endpoints().exclude(url="").count() >= MAX_ENDPOINTS:
            raise ServiceError("invalid_state", f"There are {MAX_ENDPOINTS} endpoints already.")
        made = WebhookEndpoint.objects.create(
            tenant=self.api_key.tenant, is_test=self.api_key.is_test, **wanted.validated_data
        )
        made.refresh_from_db()
        return Response(NewEndpointSerializer(made).data, status=201)

    @extend_schema(summary="Change an endpoint", request=EndpointChange)
    @transaction.atomic
    def partial_update(self, request: Request, pk: str) -> Response:
        endpoint = self.get_object()
        change = EndpointChange(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        given = dict(change.validated_data)
        enabled = given.pop("enabled", None)
        if "url" in given and not endpoint.url:
            raise ServiceError("invalid", "url: This endpoint tells each project's own webhook_url.", param="url")
        if enabled is True:
            given |= {"disabled_at": None, "disabled_reason": "", "failing_since": None}
        elif enabled is False and endpoint.disabled_at is None:
            given |= {"disabled_at": timezone.now(), "disabled_reason": "asked"}
        for name, value in given.items():
            setattr(endpoint, name, value)
        endpoint.save(update_fields=list(given))
        return Response(EndpointSerializer(endpoint).data)

    @extend_schema(
        summary="Delete an endpoint",
        responses={200: inline_serializer("DeletedEndpoint", {"detail": serializers.CharField()})},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        self.get_object().delete()
        return Response({"detail": "Webhook endpoint deleted"})

    @extend_schema(
        summary="Replace an endpoint's secret", request=SecretRotation, responses={200: NewEndpointSerializer}
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    @idempotent(secrets=("secret",))
    @transaction.atomic
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """Until the overlap is over each message has two signatures, so that receivers can change at their own time."""
        endpoint = self.get_object()
        wanted = SecretRotation(data=request.data)
        wanted.is_valid(raise_exception=True)
        endpoint.previous_secret = endpoint.secret
        endpoint.previous_until = timezone.now() + timedelta(hours=wanted.validated_data["overlap_hours"])
        endpoint.secret = new_secret()
        endpoint.save(update_fields=["secret", "previous_secret", "previous_until"])
        return Response(NewEndpointSerializer(endpoint).data)

    @extend_schema(summary="Send a test message", request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    @idempotent()
    @transaction.atomic
    def test(self, request: Request, pk: str) -> Response:
        """Of the type `ping`. What came of it is among the deliveries, as of the last hundred."""
        endpoint = self.get_object()
        _require_enabled(endpoint)
        if not endpoint.url:
            raise ServiceError("invalid_state", "The endpoint has no URL of its own to send it to.")
        delivery = outbox.ping(endpoint)
        return Response(DeliverySerializer(WebhookDelivery.objects.get(pk=delivery.pk)).data, status=202)


class DeliveryQuery(serializers.Serializer[Any]):
    delivered = serializers.BooleanField(required=False, help_text="Only those that were taken, or were not.")


@extend_schema(tags=["webhooks"])
@extend_schema_view(
    retrieve=extend_schema(summary="Get a delivery"),
)
class WebhookDeliveryViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, _OfTenant):
    serializer_class = DeliverySerializer
    queryset = WebhookDelivery.objects.none()
    required_scopes = dict.fromkeys(("list", "retrieve", "redeliver"), Scope.WEBHOOKS_WRITE)

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        found = WebhookDelivery.objects.filter(endpoint__in=self.endpoints()).select_related("event", "endpoint")
        found = found.defer("body", "event__body")  # They may be long, and are not shown.
        query = query_parameters.read(DeliveryQuery, self.request) if self.action == "list" else {}
        if "delivered" in query:
            found = found.filter(delivered_at__isnull=not query["delivered"])
        return found

    @extend_schema(
        summary="List deliveries, newest first",
        parameters=[DeliveryQuery],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(summary="Deliver a message again", request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    @idempotent()
    @transaction.atomic
    def redeliver(self, request: Request, pk: str) -> Response:
        """The same message under the same id; its retries begin anew."""
        delivery = self.get_object()
        _require_enabled(delivery.endpoint)
        WebhookDelivery.objects.filter(pk=delivery.pk).update(next_try_at=Now(), tries=0, delivered_at=None)
        outbox.enqueue()
        delivery.refresh_from_db()
        return Response(DeliverySerializer(delivery).data, status=202)


def _require_enabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.disabled_at is not None:
        raise ServiceError("invalid_state", "The endpoint is disabled.")
