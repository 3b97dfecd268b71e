"""From what has happened to messages that wait for their delivery."""

import json
import logging
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from rest_framework.renderers import JSONRenderer

from accounts.database_errors import DATABASE_UNAVAILABLE
from projects import enqueue
from projects.models import Project, Take
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.presentation.projects import represent_one
from projects.presentation.serializers import ProjectSerializer
from render.models import Render, State

logger = logging.getLogger(__name__)

TYPES = {
    State.QUEUED: EventType.QUEUED,
    State.RUNNING: EventType.PROCESSING,
    State.FINISHED: EventType.FINISHED,
    State.FAILED: EventType.FAILED,
    State.CANCELED: EventType.CANCELED,
}
AT_ONCE = 100
HAND_OUT_AGAIN_SECONDS = [60, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 6, 12, 24))]
SHARED_FROM = 8192  # characters of a message: what is longer is kept once, and not for each of its receivers
PINGS_KEPT = 100  # of a tenant, and as many of its test keys
OVERDUE = timedelta(seconds=5)  # Until then, the ticket of the event itself is on its way.


def tell_at_projects_own(project: Project) -> None:
    """From now on messages go to each project's `webhook_url`, too, signed by one secret for all of the tenant's."""
    WebhookEndpoint.objects.get_or_create(tenant=project.tenant, is_test=project.is_test, url="")


def note(render: Render) -> None:
    """Write down, in the transaction that changes it, what state a render has come to; each state once.

    Nothing for a tenant that wants to be told of nothing.
    """
    if not WebhookEndpoint.objects.filter(tenant=render.tenant_id, disabled_at=None).exists():
        return
    kind = TYPES[State(render.state)]
    # A render changes often within a state, and may come back to one after a crash.
    if WebhookEvent.objects.filter(render_id=render.pk, type=kind).exists():
        return
    # None of a new render, which belongs to no project yet: `projects.services` notes it.
    project_id = Take.objects.filter(render=render).order_by("id").values_list("project_id", flat=True).first()
    if project_id is not None:
        event = WebhookEvent(type=kind, project_id=project_id, render_id=render.pk)
        WebhookEvent.objects.bulk_create([event], ignore_conflicts=True)
        ring()


def note_once(events: Sequence[WebhookEvent]) -> None:
    """Write down those of which no other has the subject."""
    subjects = [event.subject for event in events]
    noted = set(WebhookEvent.objects.filter(subject__in=subjects).values_list("subject", flat=True))
    news = [event for event in events if event.subject not in noted]
    if news:
        WebhookEvent.objects.bulk_create(news, ignore_conflicts=True)  # Somebody may be doing the same.
        ring()


def ring() -> None:
    enqueue.ring("deliver_webhooks")


def hand_out() -> int:
    """Make the deliveries of the oldest events that have none yet; return how many events there were.

    Each in a transaction of its own. One whose message cannot be made is tried again later and keeps back no other one.
    """
    for number in range(AT_ONCE):
        if not _hand_out_next():
            return number
    return AT_ONCE


@transaction.atomic
def _hand_out_next() -> bool:
    event = _waiting().order_by("version").select_for_update(skip_locked=True, no_key=True).first()
    if event is None:
        return False
    try:
        with transaction.atomic():
            _hand_out(event)
    except DATABASE_UNAVAILABLE:
        raise  # The database is away; that says nothing about the event.
    except Exception as error:
        _put_off(event, error)
    return True


def _waiting() -> QuerySet[WebhookEvent]:
    due = Q(next_hand_out_at=None) | Q(next_hand_out_at__lte=Now())
    return WebhookEvent.objects.filter(due, handed_out_at=None, given_up_at=None)


def _hand_out(event: WebhookEvent) -> None:
    project = Project.objects.filter(pk=event.project_id, deleted_at=None).first() if event.project_id else None
    if project or not event.project_id:
        _add_deliveries(event, project)
    WebhookEvent.objects.filter(pk=event.pk).update(handed_out_at=Now())


def _put_off(event: WebhookEvent, error: Exception) -> None:
    tries = event.hand_out_tries + 1
    is_last = tries > len(HAND_OUT_AGAIN_SECONDS)
    outcome = "it is given up" if is_last else "it is tried again later"
    logger.error("The message of event %s could not be made in try %d, %s", event, tries, outcome, exc_info=error)
    changes: dict[str, object] = {"hand_out_tries": tries, "hand_out_error": type(error).__name__}
    if is_last:
        changes["given_up_at"] = Now()
    else:
        changes["next_hand_out_at"] = Now() + timedelta(seconds=HAND_OUT_AGAIN_SECONDS[tries - 1])
    WebhookEvent.objects.filter(pk=event.pk).update(**changes)


def ping(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A message without a project, to try an endpoint with."""
    of_tenant = {"type": EventType.PING, "tenant": endpoint.tenant, "is_test": endpoint.is_test}
    older = WebhookEvent.objects.filter(**of_tenant).order_by("-version")[PINGS_KEPT - 1 :]
    WebhookEvent.objects.filter(pk__in=list(older.values_list("pk", flat=True))).delete()
    event = WebhookEvent.objects.create(**of_tenant, handed_out_at=Now())
    event.refresh_from_db()
    delivery = WebhookDelivery.objects.create(event=event, endpoint=endpoint, body=_body(event, {}))
    ring()
    return delivery


def _add_deliveries(event: WebhookEvent, project: Project | None) -> None:
    owner = project or event
    own_url = project.webhook_url if project else ""
    endpoints = WebhookEndpoint.objects.filter(
        tenant=owner.tenant_id, is_test=owner.is_test, disabled_at=None, events__contains=[event.type]
    )
    if event.type == EventType.PROGRESS:
        endpoints = endpoints.filter(failing_since=None)  # It would be old when they answer again.
    receivers = [endpoint for endpoint in endpoints if endpoint.url or own_url]
    if not receivers:
        return  # And what would be told need not be put together.
    data = _data(event, project) if project else event.data
    if data is not None:
        body = _body(event, data)
        if len(receivers) > 1 and len(body) > SHARED_FROM:
            WebhookEvent.objects.filter(pk=event.pk).update(body=body)
            body = ""
        for endpoint in receivers:
            url = "" if endpoint.url else own_url
            WebhookDelivery.objects.create(event=event, endpoint=endpoint, url=url, body=body)


def _data(event: WebhookEvent, project: Project) -> dict[str, object] | None:
    """The project as the API shows it, with no take that came after the one that is told of.

    None when it is at work no longer, of progress: its end is told as such.
    """
    take = Take.objects.select_related("render").get(render=event.render_id)
    if event.type == EventType.PROGRESS and take.render.state != State.RUNNING:
        return None
    return dict(ProjectSerializer(represent_one(project, up_to=take.number)).data)


def _body(event: WebhookEvent, data: dict[str, object]) -> str:
    timestamp = event.created_at.isoformat().replace("+00:00", "Z")
    message = {"type": event.type, "timestamp": timestamp, "data": {**data, "version": event.version}}
    return json.dumps(json.loads(JSONRenderer().render(message)))


def ring_if_due(**_: object) -> None:
    """For the reaper: what a dead worker has left, and what is to be tried again by now."""
    waits = _waiting().filter(created_at__lt=Now() - OVERDUE).exists()
    if waits or WebhookDelivery.objects.filter(next_try_at__lte=Now(), endpoint__disabled_at=None).exists():
        ring()
