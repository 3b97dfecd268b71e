"""Webhooks: the endpoints of a tenant, the events (the outbox), and the deliveries of their messages."""

import base64
import secrets
import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Tenant

SECRET_BYTES = 32


class EventType(models.TextChoices):
    QUEUED = "project.queued"
    PROCESSING = "project.processing"
    FINISHED = "project.finished"
    FAILED = "project.failed"
    CANCELED = "project.canceled"
    PROGRESS = "project.progress"
    THRESHOLD_REACHED = "usage.threshold_reached"
    KEY_EXPIRING = "api_key.expiring"
    ENDPOINT_DISABLED = "webhook_endpoint.disabled"
    PING = "ping"


def default_events() -> list[str]:
    return [EventType.FINISHED, EventType.FAILED, EventType.CANCELED]


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


class WebhookEndpoint(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="webhook_endpoints")
    is_test = models.BooleanField(default=False, help_text="Made with a test key; gets events of test projects only.")
    url = models.TextField(blank=True, help_text="Empty: messages go to the `webhook_url` of each project.")
    description = models.CharField(max_length=200, blank=True)
    events = ArrayField(models.CharField(max_length=40, choices=EventType), default=default_events)
    secret = models.CharField(max_length=100, default=new_secret, editable=False)
    previous_secret = models.CharField(max_length=100, blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    disabled_at = models.DateTimeField(null=True)
    disabled_reason = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-created_at"], name="newest_endpoints")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "is_test"], name="one_endpoint_of_projects_own", condition=Q(url="")
            )
        ]

    def __str__(self) -> str:
        return self.url or "the projects' own"


class WebhookEvent(models.Model):
    """The outbox: a row is written in the transaction of what has happened, so neither exists without the other.

    Of a project it says only what has happened; the message is made when the event is fanned out to the endpoints.
    """

    # Grows with time: receivers see by it which of two messages is the newer one.
    version = models.BigAutoField(primary_key=True)
    type = models.CharField(max_length=40, choices=EventType)
    project_id = models.UUIDField(null=True)
    render_id = models.UUIDField(null=True)
    # For events that concern no project.
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, related_name="+")
    is_test = models.BooleanField(default=False, db_default=False)
    data = models.JSONField(null=True)
    subject = models.CharField(  # noqa: DJ001
        max_length=200, null=True, unique=True, help_text="No second event with the same subject is recorded."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    handed_out_at = models.DateTimeField(null=True)
    body = models.TextField(
        blank=True, default="", db_default="", help_text="The message, if it is long: one for all deliveries."
    )
    # For the case that its message cannot be made.
    hand_out_tries = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Failed tries to make its message."
    )
    next_hand_out_at = models.DateTimeField(null=True, help_text="When its message is made; null: at once.")
    given_up_at = models.DateTimeField(null=True, help_text="When the last try to make its message had failed.")
    hand_out_error = models.CharField(max_length=200, blank=True, default="", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["render_id", "type"],
                name="one_event_a_render",
                condition=Q(render_id__isnull=False) & ~Q(type="project.progress"),
            )
        ]
        indexes = [
            models.Index(fields=["version"], name="events_to_hand_out", condition=Q(handed_out_at__isnull=True)),
            models.Index(fields=["render_id"], name="progress_events", condition=Q(type="project.progress")),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.version}"


class WebhookDelivery(models.Model):
    """One event for one endpoint, until it is delivered or given up. The message is the same at every try."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, help_text="Id of the message.")
    event = models.ForeignKey(WebhookEvent, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    url = models.TextField(blank=True, default="", db_default="", help_text="The receiver, if the endpoint has no URL.")
    body = models.TextField(blank=True, help_text="The message; empty: the event has it.")
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, db_default=Now(), help_text="Null once it was delivered or given up.")
    delivered_at = models.DateTimeField(null=True)
    last_status = models.PositiveSmallIntegerField(null=True, help_text="HTTP status of the last try.")
    last_error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "endpoint"], name="one_delivery_an_endpoint")]
        indexes = [
            models.Index(fields=["next_try_at"], name="deliveries_due", condition=Q(next_try_at__isnull=False)),
            models.Index(fields=["endpoint", "-created_at"], name="newest_deliveries"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.receiver}"

    @property
    def message(self) -> str:
        return self.body or self.event.body

    @property
    def receiver(self) -> str:
        return self.url or self.endpoint.url
