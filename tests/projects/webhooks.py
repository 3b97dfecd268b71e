"""Steps of tests of webhooks."""

from django.utils import timezone

from projects import webhook_delivery, webhook_events
from projects.webhook_models import WebhookDelivery

ENDPOINTS, DELIVERIES = "/api/v1/webhook-endpoints", "/api/v1/webhook-deliveries"
ALL = [f"project.{name}" for name in ("queued", "processing", "finished", "failed", "canceled")]


def deliver_webhooks() -> None:
    """As the ticket does, but here and now."""
    while webhook_events.hand_out():
        pass
    webhook_delivery.send_due()


def make_due() -> None:
    WebhookDelivery.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())


def listen(alice, endpoint, *events):
    changed = alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"events": list(events)}, format="json")
    assert changed.status_code == 200, changed.content
