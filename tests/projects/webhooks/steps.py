"""Steps of tests of webhooks."""

from django.utils import timezone

from projects.models.webhooks import WebhookDelivery
from projects.webhooks import delivery, outbox

ENDPOINTS, DELIVERIES = "/api/v1/webhook-endpoints", "/api/v1/webhook-deliveries"
ALL = [f"project.{name}" for name in ("queued", "processing", "finished", "failed", "canceled")]


def deliver_webhooks() -> None:
    """As the ticket does, but here and now."""
    while outbox.fan_out():
        pass
    delivery.send_due()


def make_due() -> None:
    WebhookDelivery.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())


def listen(alice, endpoint, *events):
    changed = alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"events": list(events)}, format="json")
    assert changed.status_code == 200, changed.content
