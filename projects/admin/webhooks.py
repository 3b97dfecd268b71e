"""Webhook endpoints, events and deliveries, for support staff. What a message says is never shown."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.admin.base import NOTHING, ReadOnlyAdmin, object_link
from projects.models import Project
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEvent


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    list_display = [
        "short_id",
        "tenant",
        "place",
        "event_types",
        "key_mode",
        "failing_since",
        "disabled_reason",
        "created_at",
    ]
    list_filter = [("disabled_at", admin.EmptyFieldListFilter), ("failing_since", admin.EmptyFieldListFilter)]
    list_select_related = ["tenant"]
    search_fields = ["url"]
    id_lookups = ["pk", "tenant"]
    tenant_search = True
    ordering = ["-created_at"]
    fields = [
        "tenant",
        "key_mode",
        "place",
        "description",
        "event_types",
        "failing_since",
        "last_error",
        "deliveries",
        "disabled_at",
        "disabled_reason",
        "previous_until",
        "created_at",
    ]

    @admin.display(description="URL", ordering="url")
    def place(self, endpoint: WebhookEndpoint) -> str:
        return str(endpoint)

    @admin.display(description="events")
    def event_types(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events) or NOTHING

    @admin.display(description="last error")
    def last_error(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.failing_since is None:
            return NOTHING
        failed = WebhookDelivery.objects.filter(endpoint=endpoint).exclude(last_error="")
        return failed.order_by("-created_at").values_list("last_error", flat=True).first() or NOTHING

    @admin.display
    def deliveries(self, endpoint: WebhookEndpoint) -> str:
        address = reverse("admin:projects_webhookdelivery_changelist")
        return format_html('<a href="{}?q={}">all of this endpoint</a>', address, endpoint.pk)


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    list_display = ["version", "type", "project", "outcome", "hand_out_tries", "next_hand_out_at", "created_at"]
    list_filter = [
        ("given_up_at", admin.EmptyFieldListFilter),
        ("handed_out_at", admin.EmptyFieldListFilter),
        "type",
        "is_test",
    ]
    id_lookups = ["project_id", "render_id", "tenant"]
    ordering = ["-version"]
    fields = [
        "version",
        "type",
        "project",
        "outcome",
        "hand_out_tries",
        "hand_out_error",
        "created_at",
        "next_hand_out_at",
        "handed_out_at",
        "given_up_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEvent]:
        events: QuerySet[WebhookEvent] = super().get_queryset(request)
        return events.defer("body")

    @admin.display(ordering="project_id")
    def project(self, event: WebhookEvent) -> str:
        return str(event.project_id or NOTHING)

    @admin.display(ordering="given_up_at")
    def outcome(self, event: WebhookEvent) -> str:
        if event.handed_out_at is not None:
            return "handed out"
        return "given up" if event.given_up_at else "failing" if event.hand_out_tries else "waiting"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["short_id", "event_type", "receiver", "outcome", "tries", "next_try_at", "created_at"]
    list_filter = [
        ("delivered_at", admin.EmptyFieldListFilter),
        ("next_try_at", admin.EmptyFieldListFilter),
        "last_status",
    ]
    list_select_related = ["event", "endpoint"]
    id_lookups = ["pk", "endpoint", "endpoint__tenant", "event__project_id"]
    search_fields = ["=last_error"]
    ordering = ["-created_at"]
    fields = [
        "endpoint_link",
        "receiver",
        "event_type",
        "project",
        "outcome",
        "last_status",
        "last_error",
        "tries",
        "created_at",
        "next_try_at",
        "delivered_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        deliveries: QuerySet[WebhookDelivery] = super().get_queryset(request)
        return deliveries.defer("body", "event__body")

    @admin.display(description="event", ordering="event__type")
    def event_type(self, delivery: WebhookDelivery) -> str:
        return delivery.event.type

    @admin.display(description="URL")
    def receiver(self, delivery: WebhookDelivery) -> str:
        return delivery.receiver

    @admin.display(description="endpoint")
    def endpoint_link(self, delivery: WebhookDelivery) -> str:
        return object_link(delivery.endpoint)

    @admin.display
    def project(self, delivery: WebhookDelivery) -> str:
        project_id = delivery.event.project_id
        return object_link(Project.objects.filter(pk=project_id).first() if project_id else None)

    @admin.display(ordering="delivered_at")
    def outcome(self, delivery: WebhookDelivery) -> str:
        if delivery.delivered_at is not None:
            return "delivered"
        last = delivery.last_error or (f"HTTP {delivery.last_status}" if delivery.last_status else "not tried yet")
        if delivery.next_try_at is None:
            return f"given up: {last}"
        if delivery.endpoint.disabled_at is not None:
            return f"not sent, because the endpoint is disabled: {last}"
        return f"waiting: {last}"
