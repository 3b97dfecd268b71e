"""The endpoints under /api/v1/webhook-endpoints and /api/v1/webhook-deliveries."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view, inline_serializer
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api import query_parameters
from accounts.api.idempotency import idempotent
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.models import Scope
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint
from projects.webhooks import services
from projects.webhooks.serializers import (
    DeliveryQuery,
    DeliverySerializer,
    EndpointChange,
    EndpointRequest,
    EndpointSerializer,
    NewEndpointSerializer,
    SecretRotation,
)


class _OfTenant(KeyedView, GenericViewSet[Any]):
    pagination_class = EnvelopePagination

    def endpoints(self) -> QuerySet[WebhookEndpoint]:
        key = self.api_key
        return WebhookEndpoint.objects.filter(tenant=key.tenant_id, is_test=key.is_test)


@extend_schema(tags=["webhooks"])
@extend_schema_view(
    list=extend_schema(summary="List endpoints, newest first"),
    retrieve=extend_schema(summary="Get an endpoint"),
)
class WebhookEndpointViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, _OfTenant):
    serializer_class = EndpointSerializer
    queryset = WebhookEndpoint.objects.none()
    required_scopes = dict.fromkeys(
        ("list", "retrieve", "create", "partial_update", "destroy", "rotate_secret", "test"), Scope.WEBHOOKS_WRITE
    )

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        return self.endpoints()

    @extend_schema(summary="Create an endpoint", request=EndpointRequest, responses={201: NewEndpointSerializer})
    @idempotent(secrets=("secret",))
    def create(self, request: Request) -> Response:
        """Messages follow the Standard Webhooks specification: verify them with one of its libraries and the secret."""
        serializer = EndpointRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        endpoint = services.create_endpoint(self.api_key, **serializer.validated_data)
        return Response(NewEndpointSerializer(endpoint).data, status=201)

    @extend_schema(summary="Change an endpoint", request=EndpointChange)
    def partial_update(self, request: Request, pk: str) -> Response:
        endpoint = self.get_object()
        change = EndpointChange(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        services.change_endpoint(endpoint, **change.validated_data)
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
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """During the overlap each message has both signatures, so that receivers can change the secret at any time."""
        endpoint = self.get_object()
        rotation = SecretRotation(data=request.data)
        rotation.is_valid(raise_exception=True)
        services.rotate_secret(endpoint, overlap=timedelta(hours=rotation.validated_data["overlap_hours"]))
        return Response(NewEndpointSerializer(endpoint).data)

    @extend_schema(summary="Send a test message", request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    @idempotent()
    def test(self, request: Request, pk: str) -> Response:
        """A message of the type `ping`. Its outcome is among the deliveries; those of the last hundred are kept."""
        delivery = services.send_test_message(self.get_object())
        return Response(DeliverySerializer(delivery).data, status=202)


@extend_schema(tags=["webhooks"])
@extend_schema_view(
    retrieve=extend_schema(summary="Get a delivery"),
)
class WebhookDeliveryViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, _OfTenant):
    serializer_class = DeliverySerializer
    queryset = WebhookDelivery.objects.none()
    required_scopes = dict.fromkeys(("list", "retrieve", "redeliver"), Scope.WEBHOOKS_WRITE)

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        deliveries = WebhookDelivery.objects.filter(endpoint__in=self.endpoints()).select_related("event", "endpoint")
        deliveries = deliveries.defer("body", "event__body")  # They may be long, and are not shown.
        query = query_parameters.read(DeliveryQuery, self.request) if self.action == "list" else {}
        if "delivered" in query:
            deliveries = deliveries.filter(delivered_at__isnull=not query["delivered"])
        return deliveries

    @extend_schema(
        summary="List deliveries, newest first",
        parameters=[DeliveryQuery],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(summary="Deliver a message again", request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    @idempotent()
    def redeliver(self, request: Request, pk: str) -> Response:
        """The same message under the same id; its retries begin anew."""
        delivery = self.get_object()
        services.redeliver(delivery)
        return Response(DeliverySerializer(delivery).data, status=202)
