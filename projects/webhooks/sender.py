"""Sends one message by the Standard Webhooks specification, 1.0.0, signed anew at each try.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import logging
from dataclasses import dataclass
from datetime import datetime

import httpx
from django.conf import settings
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from projects.models.webhooks import WebhookDelivery, WebhookEndpoint
from render.media.download.failures import failure_of, failure_of_status, retry_after
from render.media.download.ssrf_guard import AddressNotAllowed, SsrfGuardTransport

logger = logging.getLogger(__name__)

TOTAL_SECONDS = 15.0
LONGEST_RETRY_AFTER = 24 * 3600  # Seconds.


@dataclass(frozen=True)
class SendResult:
    """What came of one try."""

    status: int | None = None  # Of the response; None when there was none.
    error: str = ""  # For the customer, in a sentence; empty after a success.
    retry_after: float | None = None  # Seconds, as the receiver has asked for.

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def send(delivery: WebhookDelivery) -> SendResult:
    """Send the delivery's message once. Raises nothing: whatever goes wrong is in the result."""
    try:
        return _post(delivery)
    except (AddressNotAllowed, httpx.HTTPError, httpx.InvalidURL) as error:
        return SendResult(error=f"The receiver {failure_of(error).words}.")
    except Exception:  # A secret or an address that cannot be used: the fault of this delivery alone.
        logger.exception("Delivery %s could not be sent", delivery.pk)
        return SendResult(error="The message could not be made or sent, because of an error of this service.")


def signatures(endpoint: WebhookEndpoint, message_id: str, moment: datetime, body: str) -> str:
    """The signature by the endpoint's secret, and while it is valid the one by the previous secret."""
    secrets = [endpoint.secret]
    if endpoint.previous_until is not None and endpoint.previous_until > moment:
        secrets.append(endpoint.previous_secret)
    return " ".join(Webhook(secret).sign(message_id, moment, body) for secret in secrets)


def _post(delivery: WebhookDelivery) -> SendResult:
    moment, message_id = timezone.now(), f"msg_{delivery.pk.hex}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": settings.USER_AGENT,
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": signatures(delivery.endpoint, message_id, moment, delivery.message),
    }
    transport = SsrfGuardTransport(allow_private=settings.ALLOW_PRIVATE_MEDIA_URLS, total_seconds=TOTAL_SECONDS)
    with (
        httpx.Client(transport=transport, trust_env=False, timeout=TOTAL_SECONDS) as client,
        client.stream("POST", delivery.receiver, content=delivery.message.encode(), headers=headers) as response,
    ):
        # The body is never read: only the status counts, and a redirect is a failure.
        status = response.status_code
        error = "" if response.is_success else f"The receiver {failure_of_status(status).words}."
        return SendResult(status, error, retry_after=_retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    seconds = retry_after(response)
    return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER)
