"""Everything that a customer changes about webhooks: endpoints, their secrets, and another try of a delivery."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint, new_secret
from projects.webhooks import outbox

MAX_ENDPOINTS = 20  # Of a tenant with live keys, and as many with test keys.


@transaction.atomic
def create_endpoint(key: ApiKey, **fields: Any) -> WebhookEndpoint:
    """Make an endpoint of the key's tenant and mode. Raises ServiceError `invalid_state` when there are too many."""
    # Locked, so that no other request adds one between the count and the insert.
    Tenant.objects.select_for_update(no_key=True).get(pk=key.tenant_id)
    own = WebhookEndpoint.objects.filter(tenant=key.tenant_id, is_test=key.is_test).exclude(url="")
    if own.count() >= MAX_ENDPOINTS:
        raise ServiceError("invalid_state", f"There are {MAX_ENDPOINTS} endpoints already.")
    return WebhookEndpoint.objects.create(tenant=key.tenant, is_test=key.is_test, **fields)


def change_endpoint(endpoint: WebhookEndpoint, *, enabled: bool | None = None, **fields: Any) -> None:
    """Change fields; enabled: None leaves it as it is.

    Raises ServiceError `invalid` for a URL of the endpoint that stands for the `webhook_url` of each project.
    """
    if "url" in fields and not endpoint.url:
        raise ServiceError("invalid", "url: This endpoint stands for each project's own webhook_url.", param="url")
    if enabled is True:
        fields |= {"disabled_at": None, "disabled_reason": "", "failing_since": None}
    elif enabled is False and endpoint.disabled_at is None:
        fields |= {"disabled_at": timezone.now(), "disabled_reason": "asked"}
    for name, value in fields.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=list(fields))


def rotate_secret(endpoint: WebhookEndpoint, *, overlap: timedelta) -> None:
    """Give the endpoint a new secret; for the time of the overlap its messages are signed by the old one as well."""
    endpoint.previous_secret = endpoint.secret
    endpoint.previous_until = timezone.now() + overlap
    endpoint.secret = new_secret()
    endpoint.save(update_fields=["secret", "previous_secret", "previous_until"])


@transaction.atomic
def send_test_message(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Raises ServiceError `invalid_state` for an endpoint that is disabled or has no URL of its own."""
    _require_enabled(endpoint)
    if not endpoint.url:
        raise ServiceError("invalid_state", "The endpoint has no URL of its own to send it to.")
    return outbox.ping(endpoint)


@transaction.atomic
def redeliver(delivery: WebhookDelivery) -> None:
    """Send the same message again under the same id. Raises ServiceError `invalid_state` for a disabled endpoint."""
    _require_enabled(delivery.endpoint)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_try_at=Now(), tries=0, delivered_at=None)
    outbox.enqueue()
    delivery.refresh_from_db()


def _require_enabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.disabled_at is not None:
        raise ServiceError("invalid_state", "The endpoint is disabled.")
