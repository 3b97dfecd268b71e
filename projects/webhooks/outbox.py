"""The outbox: events are recorded in the transaction of what has happened, and later become messages to deliver.

`fan_out` makes the deliveries of an event, one for each receiver; the columns of the event call that "handed out".
"""

import json
import logging
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from rest_framework.renderers import JSONRenderer

from accounts.database_errors import DATABASE_UNAVAILABLE
from projects.enqueue import enqueue_task
from projects.models import Project, Take
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.presentation.projects import present_one
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
AT_ONCE = 100  # Events that one call of `fan_out` handles.
FAN_OUT_RETRY_SECONDS = [60, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 6, 12, 24))]
SHARED_FROM = 8192  # Characters. A longer message is stored once with its event, and not with each delivery.
PINGS_KEPT = 100  # Of a tenant with live keys, and as many with test keys.
OVERDUE = timedelta(seconds=5)  # Until then the ticket of the event itself is on its way.


class CannotBeMade(Exception):
    """No later try can make the message of an event."""


def ensure_project_url_endpoint(project: Project) -> None:
    """Make the endpoint that stands for the `webhook_url` of each project; its secret signs all of the tenant's."""
    endpoint = WebhookEndpoint(tenant=project.tenant, is_test=project.is_test, url="")
    WebhookEndpoint.objects.bulk_create([endpoint], ignore_conflicts=True)


def record(*, render: Render, **_: object) -> None:
    """Record the event of a render's new state, in the transaction that changes it. A subscriber of `render_changed`.

    Each state of a render has one event at most, which the constraint `one_event_a_render` guarantees. By design a
    second one is dropped: a render that is queued and processed again after a crash is no news to the customer.
    Nothing is recorded for a tenant without an endpoint, nor for a render that belongs to no project.
    """
    if not WebhookEndpoint.objects.filter(tenant=render.tenant_id, disabled_at=None).exists():
        return
    kind = TYPES[State(render.state)]
    if WebhookEvent.objects.filter(render_id=render.pk, type=kind).exists():
        return
    take = _take_of(render)
    if take is not None:
        event = WebhookEvent(type=kind, project_id=take.project_id, render_id=render.pk)
        # Another transaction may be recording the same.
        WebhookEvent.objects.bulk_create([event], ignore_conflicts=True)
        enqueue()


def _take_of(render: Render) -> Take | None:
    """Of a new render, the take in hand. Else only the columns that the database role of a GPU node may read."""
    if Render.take.is_cached(render):
        return render.take
    return Take.objects.filter(render=render).only("project_id", "render_id").order_by("id").first()


def record_once(events: Sequence[WebhookEvent]) -> None:
    """Record those events whose subject no earlier event has."""
    subjects = [event.subject for event in events]
    known = set(WebhookEvent.objects.filter(subject__in=subjects).values_list("subject", flat=True))
    new = [event for event in events if event.subject not in known]
    if new:
        WebhookEvent.objects.bulk_create(new, ignore_conflicts=True)  # Another reaper may be recording the same.
        enqueue()


def enqueue() -> None:
    """Have events fanned out and messages delivered soon."""
    enqueue_task("deliver_webhooks")


def enqueue_if_due(**_: object) -> None:
    """For the reaper: what a dead worker has left, and what is to be tried again by now."""
    waits = _waiting().filter(created_at__lt=Now() - OVERDUE).exists()
    if waits or WebhookDelivery.objects.filter(next_try_at__lte=Now(), endpoint__disabled_at=None).exists():
        enqueue()


def fan_out() -> int:
    """Make the deliveries of the oldest events that have none yet, one for each endpoint; return the number of events.

    Each event has a transaction of its own. One whose message cannot be made is tried again later, or given up, and
    delays no other event.
    """
    for number in range(AT_ONCE):
        if not _fan_out_next():
            return number
    return AT_ONCE


@transaction.atomic
def _fan_out_next() -> bool:
    event = _waiting().order_by("version").select_for_update(skip_locked=True, no_key=True).first()
    if event is None:
        return False
    try:
        with transaction.atomic():
            _fan_out(event)
    except DATABASE_UNAVAILABLE:
        raise  # The database is away, which says nothing about the event.
    except Exception as error:
        _put_off(event, error)
    return True


def _waiting() -> QuerySet[WebhookEvent]:
    due = Q(next_hand_out_at=None) | Q(next_hand_out_at__lte=Now())
    return WebhookEvent.objects.filter(due, handed_out_at=None, given_up_at=None)


def _fan_out(event: WebhookEvent) -> None:
    project = Project.objects.filter(pk=event.project_id, deleted_at=None).first() if event.project_id else None
    if project or not event.project_id:
        _add_deliveries(event, project)
    WebhookEvent.objects.filter(pk=event.pk).update(handed_out_at=Now())


def _put_off(event: WebhookEvent, error: Exception) -> None:
    tries = event.hand_out_tries + 1
    is_last = tries > len(FAN_OUT_RETRY_SECONDS) or isinstance(error, CannotBeMade)
    outcome = "it is given up" if is_last else "it is tried again later"
    logger.error("The message of event %s could not be made in try %d, %s", event, tries, outcome, exc_info=error)
    changes: dict[str, object] = {"hand_out_tries": tries, "hand_out_error": type(error).__name__}
    if is_last:
        changes["given_up_at"] = Now()
    else:
        changes["next_hand_out_at"] = Now() + timedelta(seconds=FAN_OUT_RETRY_SECONDS[tries - 1])
    WebhookEvent.objects.filter(pk=event.pk).update(**changes)


def ping(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Make a message of the type `ping`, by which a tenant tries an endpoint. It concerns no project."""
    of_tenant = {"type": EventType.PING, "tenant": endpoint.tenant, "is_test": endpoint.is_test}
    older = WebhookEvent.objects.filter(**of_tenant).order_by("-version")[PINGS_KEPT - 1 :]
    WebhookEvent.objects.filter(pk__in=list(older.values_list("pk", flat=True))).delete()
    event = WebhookEvent.objects.create(**of_tenant, handed_out_at=Now())
    delivery = WebhookDelivery.objects.create(event=event, endpoint=endpoint, body=_body(event, {}))
    enqueue()
    return delivery


def _add_deliveries(event: WebhookEvent, project: Project | None) -> None:
    owner = project or event
    own_url = project.webhook_url if project else ""
    endpoints = WebhookEndpoint.objects.filter(
        tenant=owner.tenant_id, is_test=owner.is_test, disabled_at=None, events__contains=[event.type]
    )
    if event.type == EventType.PROGRESS:
        endpoints = endpoints.filter(failing_since=None)  # The message would be old by the time they answer again.
    receivers = [endpoint for endpoint in endpoints if endpoint.url or own_url]
    if not receivers:
        return
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
    """The project as the API shows it, up to the take of the event.

    None for a progress event of a render that has ended: the end has an event of its own. Raises CannotBeMade for an
    event whose render is not a take of the project.
    """
    take = Take.objects.select_related("render").filter(project=project, render=event.render_id).first()
    if take is None:
        raise CannotBeMade(f"Project {project.pk} has no render {event.render_id}")
    if event.type == EventType.PROGRESS and take.render.state != State.RUNNING:
        return None
    return dict(ProjectSerializer(present_one(project, up_to=take.number)).data)


def _body(event: WebhookEvent, data: dict[str, object]) -> str:
    timestamp = event.created_at.isoformat().replace("+00:00", "Z")
    message = {"type": event.type, "timestamp": timestamp, "data": {**data, "version": event.version}}
    return json.dumps(json.loads(JSONRenderer().render(message)))
