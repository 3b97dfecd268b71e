"""From what has happened to messages that wait for their delivery."""

import json
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from rest_framework.renderers import JSONRenderer

from projects import tickets
from projects.models import Project, Take
from projects.representation import represent, with_takes
from projects.serializers import ProjectSerializer
from projects.webhook_models import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from render.models import Render, State

TYPES = {
    State.QUEUED: EventType.QUEUED,
    State.RUNNING: EventType.PROCESSING,
    State.FINISHED: EventType.FINISHED,
    State.FAILED: EventType.FAILED,
    State.CANCELED: EventType.CANCELED,
}
AT_ONCE = 100
OVERDUE = timedelta(seconds=5)  # Until then, the ticket of the event itself is on its way.


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
    # None of a new render, which belongs to no project yet: `projects.takes` notes it.
    project_id = Take.objects.filter(render=render).order_by("id").values_list("project_id", flat=True).first()
    if project_id is not None:
        event = WebhookEvent(type=kind, project_id=project_id, render_id=render.pk)
        WebhookEvent.objects.bulk_create([event], ignore_conflicts=True)
        ring()


def ring() -> None:
    tickets.ring("deliver_webhooks")


@transaction.atomic
def hand_out() -> int:
    """Make the deliveries of the oldest events that have none yet; return how many events there were."""
    waiting = WebhookEvent.objects.filter(handed_out_at=None).order_by("version")
    events = list(waiting.select_for_update(skip_locked=True, no_key=True)[:AT_ONCE])
    for event in events:
        assert event.project_id is not None  # Only a ping has none, and that is handed out when it is made.
        project = Project.objects.filter(pk=event.project_id, deleted_at=None).first()
        if project is not None:
            endpoints = WebhookEndpoint.objects.filter(
                tenant=project.tenant_id, is_test=project.is_test, disabled_at=None, events__contains=[event.type]
            )
            _add_deliveries(event, endpoints, project)
    WebhookEvent.objects.filter(pk__in=[event.pk for event in events]).update(handed_out_at=Now())
    return len(events)


def ping(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A message without a project, to try an endpoint with."""
    event = WebhookEvent.objects.create(type=EventType.PING, handed_out_at=Now())
    event.refresh_from_db()
    delivery = WebhookDelivery.objects.create(event=event, endpoint=endpoint, body=_body(event, {}))
    ring()
    return delivery


def _add_deliveries(event: WebhookEvent, endpoints: Iterable[WebhookEndpoint], project: Project) -> None:
    body = ""
    for endpoint in endpoints:
        body = body or _body(event, _data(event, project))
        WebhookDelivery.objects.create(event=event, endpoint=endpoint, body=body)


def _data(event: WebhookEvent, project: Project) -> dict[str, object]:
    """The project as the API shows it, with no take that came after the one that is told of."""
    take = Take.objects.get(render=event.render_id)
    [shown] = represent(
        [with_takes(Project.objects.all(), up_to=take.number).get(pk=project.pk)], base_url=settings.PUBLIC_URL
    )
    return dict(ProjectSerializer(shown).data)


def _body(event: WebhookEvent, data: dict[str, object]) -> str:
    timestamp = event.created_at.isoformat().replace("+00:00", "Z")
    message = {"type": event.type, "timestamp": timestamp, "data": {**data, "version": event.version}}
    return json.dumps(json.loads(JSONRenderer().render(message)))


def ring_if_due(**_: object) -> None:
    """For the reaper: what a dead worker has left, and what is to be tried again by now."""
    waits = WebhookEvent.objects.filter(handed_out_at=None, created_at__lt=Now() - OVERDUE).exists()
    if waits or WebhookDelivery.objects.filter(next_try_at__lte=Now(), endpoint__disabled_at=None).exists():
        ring()
