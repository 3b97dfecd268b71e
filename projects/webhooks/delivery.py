"""Which deliveries are due, which one is tried next, and what follows from each try: at least once, in no order."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils import timezone

from projects.due_rows import claim_first
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.webhooks import outbox, sender
from projects.webhooks.sender import SendResult
from render.machine import host_lock

logger = logging.getLogger(__name__)

AT_ONCE = 16  # Deliveries that one process sends at the same time.
OF_A_TENANT = 4  # Of these, at most so many of one tenant.
POLL_SECONDS = 0.5  # How often new deliveries are looked for while receivers keep others waiting.
SENDER_SECONDS = 60  # After which a delivery is due again if its sender has not ended it.
RETRY_SECONDS = [5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24))]
JITTER = 0.2
# After which an endpoint that fails all the time is disabled. The tries of a single message end sooner.
FAILING_LIMIT = timedelta(days=5)
GONE = 410


def send_in_background() -> None:
    """Send what is due in a thread, so that this worker is free for renders. If it dies, all is due again later."""
    if _due().exists():
        threading.Thread(target=_send_in_thread, name="webhooks", daemon=True).start()


def send_due() -> None:
    """Send what is due. One process of a machine does it for all of them, until nothing is due any more."""
    while _due().exists():
        lock = host_lock.try_lock("webhooks")
        if lock is None:
            return  # The process that has the lock looks once more after it has released it.
        with lock:
            sent = _send_many()
        if not sent:  # Another machine is just claiming what is due.
            time.sleep(POLL_SECONDS)


def _send_in_thread() -> None:
    try:
        send_due()
    except Exception:  # What is due stays due, and the reaper enqueues it again.
        logger.exception("Webhooks: sending was broken off")
    finally:
        connection.close()


def _send_many() -> int:
    """Send what is due, one message at a time to each receiver, so that a slow one delays only itself.

    Returns the number sent.
    """
    in_flight: dict[Future[SendResult], WebhookDelivery] = {}
    sent = 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as pool:
        while True:
            while len(in_flight) < AT_ONCE and (delivery := _claim(in_flight.values())):
                in_flight[pool.submit(sender.send, delivery)] = delivery
            if not in_flight:
                return sent
            done, _ = wait(in_flight, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                _record_result(in_flight.pop(future), future.result())
            sent += len(done)


def _due() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(next_try_at__lte=Now(), endpoint__disabled_at=None)


def _claim(in_flight: Collection[WebhookDelivery]) -> WebhookDelivery | None:
    """The delivery that has been due for longest, of a receiver to which nothing is being sent."""
    tenants = Counter(delivery.endpoint.tenant_id for delivery in in_flight)
    due = _due().exclude(endpoint__tenant__in=[tenant for tenant, number in tenants.items() if number >= OF_A_TENANT])
    # Of a tenant's failing endpoints one is tried at a time, which leaves room for the good ones.
    failing = {delivery.endpoint.tenant_id for delivery in in_flight if delivery.endpoint.failing_since is not None}
    due = due.exclude(endpoint__tenant__in=failing, endpoint__failing_since__isnull=False)
    for delivery in in_flight:
        due = due.exclude(endpoint=delivery.endpoint_id, url=delivery.url)
    due = due.select_related("endpoint", "event").order_by("next_try_at", "event__version")
    # If the sender dies, the receiver may get the message twice, under the same id.
    return claim_first(
        due, time_field="next_try_at", again_after=lambda _: timedelta(seconds=SENDER_SECONDS), counter="tries"
    )


@transaction.atomic
def _record_result(delivery: WebhookDelivery, result: SendResult) -> None:
    # Locks the endpoint first, as every writer does: several of its deliveries may end at the same time.
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=delivery.endpoint_id).first()
    if endpoint is None:
        return  # It was deleted, and its deliveries with it.
    changes: dict[str, object] = {"last_status": result.status, "last_error": result.error, "next_try_at": None}
    if result.is_success:
        changes["delivered_at"] = Now()
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=None)
    else:
        changes["next_try_at"] = _next_try(delivery, result)
        # The URL is not logged: it may hold a secret.
        message = "Webhook delivery %s to endpoint %s has failed at try %d: %s"
        logger.warning(message, delivery.pk, endpoint.pk, delivery.tries, result.error)
        if endpoint.url:  # Without a URL it stands for many receivers, and the failure of one says nothing of others.
            _record_failure(endpoint, result)
    WebhookDelivery.objects.filter(pk=delivery.pk, tries=delivery.tries).update(**changes)


def _record_failure(endpoint: WebhookEndpoint, result: SendResult) -> None:
    now = timezone.now()
    since = endpoint.failing_since or now
    reason = "gone" if result.status == GONE else "failing" if now - since > FAILING_LIMIT else ""
    changes: dict[str, object] = {"failing_since": since}
    if reason and endpoint.disabled_at is None:
        changes |= {"disabled_at": now, "disabled_reason": reason}
        logger.warning("Webhook endpoint %s is disabled: %s", endpoint.pk, reason)
        data = {"id": str(endpoint.pk), "url": endpoint.url, "reason": reason, "disabled_at": now.isoformat()}
        event = WebhookEvent(
            type=EventType.ENDPOINT_DISABLED,
            tenant_id=endpoint.tenant_id,
            is_test=endpoint.is_test,
            subject=f"disabled {endpoint.pk} {now:%Y-%m-%dT%H}",  # Once an hour, however often it is enabled again.
            data=data,
        )
        outbox.record_once([event])
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**changes)


def _next_try(delivery: WebhookDelivery, result: SendResult) -> Combinable | None:
    """When the message is sent again, by the database's clock; None: never."""
    if delivery.event.type == EventType.PROGRESS:
        return None  # A newer progress event will be there by then.
    if delivery.tries > len(RETRY_SECONDS) or (result.status == GONE and delivery.url):
        return None
    seconds = RETRY_SECONDS[delivery.tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return Now() + timedelta(seconds=max(seconds, result.retry_after or 0))
