"""Sends messages by the Standard Webhooks specification, 1.0.0: at least once, in no order, signed anew at each try.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.webhooks import outbox
from render.machine import host_lock
from render.media.download.failures import failure_of, failure_of_status, retry_after
from render.media.download.safe_client import AddressNotAllowed, OutboundTransport

logger = logging.getLogger(__name__)

TOTAL_SECONDS = 15.0
AT_ONCE = 16
OF_A_TENANT = 4  # of these
LOOK_SECONDS = 0.5  # How often it is looked for more that is due while receivers keep it waiting.
SENDER_SECONDS = 60  # After which a delivery is taken from a sender that has not ended it.
RETRY_SECONDS = [5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24))]
JITTER = 0.2
LONGEST_RETRY_AFTER = 24 * 3600
FAILING_LIMIT = timedelta(days=5)
GONE = 410


@dataclass(frozen=True)
class Answer:
    status: int | None = None
    error: str = ""
    retry_after: float | None = None  # seconds

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def send_in_background() -> None:
    """In a thread, so that the worker has its hands free for renders. If it dies, what is under way is due again."""
    if _due().exists():
        threading.Thread(target=_send_in_thread, name="webhooks", daemon=True).start()


def _send_in_thread() -> None:
    try:
        send_due()
    except Exception:  # Whatever it is: what is due stays due, and the reaper rings again.
        logger.exception("Webhooks: broken off")
    finally:
        connection.close()


def send_due() -> None:
    """Try what is due. One process of a machine does it for all that run there, and sees what becomes due meanwhile."""
    while _due().exists():
        lock = host_lock.try_lock("webhooks")
        if lock is None:
            return  # Who has it looks once more when it has let go.
        with lock:
            sent = _send_many()
        if not sent:  # It is just being locked by somebody else.
            time.sleep(LOOK_SECONDS)


def _send_many() -> int:
    """Receivers that do not answer keep little from others: each gets one message at a time, in order. How many."""
    in_flight: dict[Future[Answer], WebhookDelivery] = {}
    sent = 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as pool:
        while True:
            while len(in_flight) < AT_ONCE and (delivery := _claim(in_flight.values())):
                in_flight[pool.submit(_post, delivery)] = delivery
            if not in_flight:
                return sent
            done, _ = wait(in_flight, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for answered in done:
                _note(in_flight.pop(answered), answered.result())
            sent += len(done)


def signatures(endpoint: WebhookEndpoint, message_id: str, moment: datetime, body: str) -> str:
    """Of the secret, and of the one before it while both are good."""
    secrets = [endpoint.secret]
    if endpoint.previous_until is not None and endpoint.previous_until > moment:
        secrets.append(endpoint.previous_secret)
    return " ".join(Webhook(secret).sign(message_id, moment, body) for secret in secrets)


def _due() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(next_try_at__lte=Now(), endpoint__disabled_at=None)


@transaction.atomic
def _claim(in_flight: Collection[WebhookDelivery]) -> WebhookDelivery | None:
    """The one that is due for longest, of a receiver that is not being told something."""
    tenants = Counter(sending.endpoint.tenant_id for sending in in_flight)
    due = _due().exclude(endpoint__tenant__in=[tenant for tenant, number in tenants.items() if number >= OF_A_TENANT])
    # Those that have failed lately wait for one another, so that they leave room for the tenant's good ones.
    failing = {sending.endpoint.tenant_id for sending in in_flight if sending.endpoint.failing_since is not None}
    due = due.exclude(endpoint__tenant__in=failing, endpoint__failing_since__isnull=False)
    for sending in in_flight:
        due = due.exclude(endpoint=sending.endpoint_id, url=sending.url)
    due = due.select_related("endpoint", "event")
    delivery = (
        due.order_by("next_try_at", "event__version")
        .select_for_update(of=("self",), skip_locked=True, no_key=True)
        .first()
    )
    if delivery is not None:
        delivery.tries += 1
        # A sender that dies leaves it due again; the receiver may then get it twice, under the same id.
        later = Now() + timedelta(seconds=SENDER_SECONDS)
        WebhookDelivery.objects.filter(pk=delivery.pk).update(tries=delivery.tries, next_try_at=later)
    return delivery


def _post(delivery: WebhookDelivery) -> Answer:
    try:
        return _send(delivery)
    except (AddressNotAllowed, httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(error=f"The receiver {failure_of(error).words}.")
    except Exception:  # A secret or an address that cannot be used: this delivery's fault, not the others'.
        logger.exception("Delivery %s could not be sent", delivery.pk)
        return Answer(error="The message could not be made or sent, because of an error of this service.")


def _send(delivery: WebhookDelivery) -> Answer:
    moment, message_id = timezone.now(), f"msg_{delivery.pk.hex}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": settings.USER_AGENT,
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": signatures(delivery.endpoint, message_id, moment, delivery.message),
    }
    transport = OutboundTransport(allow_private=settings.ALLOW_PRIVATE_MEDIA_URLS, total_seconds=TOTAL_SECONDS)
    with (
        httpx.Client(transport=transport, trust_env=False, timeout=TOTAL_SECONDS) as client,
        client.stream("POST", delivery.receiver, content=delivery.message.encode(), headers=headers) as response,
    ):
        # Its body is never read: only the status counts, and a redirect is a failure.
        status = response.status_code
        error = "" if response.is_success else f"The receiver {failure_of_status(status).words}."
        return Answer(status, error, retry_after=_retry_after(response))


@transaction.atomic
def _note(delivery: WebhookDelivery, answer: Answer) -> None:
    # The endpoint first, for all: several of its deliveries may end at once.
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=delivery.endpoint_id).first()
    if endpoint is None:
        return  # It was deleted, and its deliveries with it.
    changes: dict[str, object] = {"last_status": answer.status, "last_error": answer.error, "next_try_at": None}
    if answer.is_success:
        changes["delivered_at"] = Now()
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=None)
    else:
        changes["next_try_at"] = _next_try(delivery, answer)
        # Never the URL, which may hold a secret.
        what = (delivery.pk, endpoint.pk, delivery.tries, answer.error)
        logger.warning("Webhook delivery %s to endpoint %s has failed at try %d: %s", *what)
        if endpoint.url:  # Else it stands for many receivers, of which one says nothing about the others.
            _note_failure(endpoint, answer)
    WebhookDelivery.objects.filter(pk=delivery.pk, tries=delivery.tries).update(**changes)


def _note_failure(endpoint: WebhookEndpoint, answer: Answer) -> None:
    now = timezone.now()
    since = endpoint.failing_since or now
    reason = "gone" if answer.status == GONE else "failing" if now - since > FAILING_LIMIT else ""
    changes: dict[str, object] = {"failing_since": since}
    if reason and endpoint.disabled_at is None:
        changes |= {"disabled_at": now, "disabled_reason": reason}
        logger.warning("Webhook endpoint %s is disabled: %s", endpoint.pk, reason)
        disabled = {"id": str(endpoint.pk), "url": endpoint.url, "reason": reason, "disabled_at": now.isoformat()}
        event = WebhookEvent(
            type=EventType.ENDPOINT_DISABLED,
            tenant_id=endpoint.tenant_id,
            is_test=endpoint.is_test,
            subject=f"disabled {endpoint.pk} {now:%Y-%m-%dT%H}",  # Once an hour, however often it is enabled again.
            data=disabled,
        )
        outbox.record_once([event])
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**changes)


def _next_try(delivery: WebhookDelivery, answer: Answer) -> datetime | None:
    if delivery.event.type == EventType.PROGRESS:
        return None  # There is news by then.
    if delivery.tries > len(RETRY_SECONDS) or (answer.status == GONE and delivery.url):
        return None
    seconds = RETRY_SECONDS[delivery.tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return timezone.now() + timedelta(seconds=max(seconds, answer.retry_after or 0))


def _retry_after(response: httpx.Response) -> float | None:
    asked = retry_after(response)
    return None if asked is None else min(asked, LONGEST_RETRY_AFTER)
