"""When a message is tried, and tried again: around each limit."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ

from accounts.errors import ServiceError
from projects.models import Deletion
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.retention import project_deletion
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox, sender
from projects.webhooks.sender import SendResult
from render.models import Render
from tests.projects.steps import PROJECTS, create

pytestmark = pytest.mark.django_db

MINUTE, HOUR = 60, 3600
WAITS = [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]


@pytest.fixture
def endpoint(alice, neighbour) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        tenant=alice.tenant, url="https://example.com/hook", events=[EventType.QUEUED, EventType.PROGRESS]
    )


@pytest.fixture
def delivery(endpoint) -> WebhookDelivery:
    return outbox.ping(endpoint)


def wait_after(delivery: WebhookDelivery, tries: int, answer: SendResult) -> float | None:
    """In seconds, from now."""
    delivery.tries = tries
    WebhookDelivery.objects.filter(pk=delivery.pk).update(tries=tries)
    webhook_delivery._record_result(delivery, answer)
    delivery.refresh_from_db()
    return delivery.next_try_at and (delivery.next_try_at - timezone.now()).total_seconds()


@pytest.mark.parametrize(("tries", "seconds"), list(enumerate(WAITS, 1)))
def test_each_try_waits_longer_and_a_fifth_more_or_less(delivery, tries, seconds) -> None:
    waits = [wait_after(delivery, tries, SendResult(status=500)) for _ in range(10)]

    assert all(0.8 * seconds - 3 < wait < 1.2 * seconds + 3 for wait in waits)
    assert max(waits) - min(waits) > 0.05 * seconds  # Receivers that failed together are not tried together.


def test_after_the_tenth_try_it_is_given_up(delivery) -> None:
    assert wait_after(delivery, 9, SendResult(status=500)) is not None
    assert wait_after(delivery, 10, SendResult(status=500)) is None
    assert delivery.delivered_at is None


def test_gone_is_the_end_for_a_projects_own_url_and_for_no_other(alice, delivery) -> None:
    own = WebhookEndpoint.objects.create(tenant=alice.tenant, url="", events=[])
    event = WebhookEvent.objects.create(type=EventType.PING, handed_out_at=Now())
    told = WebhookDelivery.objects.create(event=event, endpoint=own, url="https://own.example", body="{}")

    assert wait_after(told, 1, SendResult(status=410)) is None
    own.refresh_from_db()
    assert (own.disabled_at, own.failing_since) == (None, None)
    assert wait_after(delivery, 1, SendResult(status=410)) is not None


@pytest.mark.parametrize(
    ("asked", "seconds"), [("3600", 3600), ("86400", 86400), ("86401", 86400), ("999999999", 86400)]
)
def test_a_receiver_may_ask_for_a_day_at_most(delivery, asked, seconds) -> None:
    retry_after = sender._retry_after(httpx.Response(503, headers={"Retry-After": asked}))

    assert wait_after(delivery, 1, SendResult(status=503, retry_after=retry_after)) == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize("asked", ["", "-1", "1.5", "soon", "1" * 10, "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_what_names_no_time_to_come_is_not_waited_for(asked) -> None:
    assert sender._retry_after(httpx.Response(503, headers={"Retry-After": asked})) is None


@pytest.mark.parametrize(
    ("status", "success"), [(None, False), (199, False), (200, True), (204, True), (299, True), (300, False)]
)
def test_only_two_hundreds_are_a_success(status, success) -> None:
    assert SendResult(status=status).is_success == success


def test_a_success_is_noted_once_and_ends_the_failing(delivery, endpoint) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=Now())
    assert wait_after(delivery, 1, SendResult(status=204)) is None

    endpoint.refresh_from_db()
    assert (delivery.last_status, delivery.last_error, endpoint.failing_since) == (204, "", None)
    assert delivery.delivered_at is not None


def test_an_outcome_of_an_earlier_try_changes_nothing(delivery) -> None:
    """Its sender was so late that another one has taken the delivery."""
    late = WebhookDelivery.objects.get(pk=delivery.pk)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(tries=2)
    late.tries = 1

    webhook_delivery._record_result(late, SendResult(error="no answer in time"))

    delivery.refresh_from_db()
    assert (delivery.last_error, delivery.tries) == ("", 2)


@pytest.mark.parametrize(("days", "reason"), [(4.9, ""), (5.1, "failing")])
def test_five_days_of_failures_disable_an_endpoint(delivery, endpoint, days, reason) -> None:
    since = timezone.now() - timedelta(days=days)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=since)

    webhook_delivery._record_result(delivery, SendResult(status=500))

    endpoint.refresh_from_db()
    assert (endpoint.disabled_reason, endpoint.disabled_at is not None) == (reason, bool(reason))
    assert endpoint.failing_since == since
    assert WebhookEvent.objects.filter(type=EventType.ENDPOINT_DISABLED).count() == bool(reason)


def test_an_endpoint_that_is_disabled_is_not_disabled_again(delivery, endpoint) -> None:
    before = timezone.now() - timedelta(days=1)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=before, disabled_reason="customer")

    webhook_delivery._record_result(delivery, SendResult(status=410))

    endpoint.refresh_from_db()
    assert (endpoint.disabled_at, endpoint.disabled_reason) == (before, "customer")
    assert not WebhookEvent.objects.filter(type=EventType.ENDPOINT_DISABLED).exists()


def test_a_claim_is_for_a_minute(delivery) -> None:
    webhook_delivery._claim([])

    delivery.refresh_from_db()
    assert 55 < (delivery.next_try_at - timezone.now()).total_seconds() <= 60


def test_what_is_due_for_longest_comes_first(alice, endpoint) -> None:
    events = [WebhookEvent.objects.create(type=EventType.PING, handed_out_at=Now()) for _ in range(3)]
    others = [WebhookEndpoint.objects.create(tenant=alice.tenant, url=f"https://{n}.example") for n in range(3)]
    moment = timezone.now() - timedelta(minutes=1)
    made = [
        WebhookDelivery.objects.create(
            event=event, endpoint=other, body="{}", next_try_at=moment - timedelta(seconds=late)
        )
        for event, other, late in zip(events, others, (0, 5, 0), strict=True)
    ]

    assert [webhook_delivery._claim([]) for _ in range(3)] == [made[1], made[0], made[2]]
    assert webhook_delivery._claim([]) is None


def test_what_is_not_due_or_disabled_is_not_claimed(delivery, endpoint) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_try_at=Now() + timedelta(seconds=5))
    assert webhook_delivery._claim([]) is None
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_try_at=Now())
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=Now())
    assert webhook_delivery._claim([]) is None
    assert not webhook_delivery._due().filter(endpoint=endpoint).exists()


def deliveries_of(alice, number: int, **fields) -> list[WebhookDelivery]:
    """To one endpoint each."""
    made = []
    for _ in range(number):
        event = WebhookEvent.objects.create(type=EventType.PING, handed_out_at=Now())
        other = WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://x.example", **fields)
        made.append(WebhookDelivery.objects.create(event=event, endpoint=other, body="{}"))
    return made


def test_a_tenant_has_four_at_a_time_and_another_one_goes_on(alice, charlie) -> None:
    deliveries_of(alice, 6)
    in_flight = [webhook_delivery._claim([]) for _ in range(3)]
    assert (fourth := webhook_delivery._claim(in_flight)) is not None
    in_flight.append(fourth)
    assert webhook_delivery._claim(in_flight) is None

    [other] = deliveries_of(charlie, 1)
    assert webhook_delivery._claim(in_flight) == other


def test_a_receiver_gets_one_at_a_time(alice, endpoint) -> None:
    first, _ = outbox.ping(endpoint), outbox.ping(endpoint)
    assert webhook_delivery._claim([]) == first
    assert webhook_delivery._claim([first]) is None
    assert webhook_delivery._claim([]) is not None


def test_failing_receivers_of_a_tenant_wait_for_one_another_and_good_ones_do_not(alice, charlie) -> None:
    failing = deliveries_of(alice, 2, failing_since=Now())
    [good] = deliveries_of(alice, 1)
    [others] = deliveries_of(charlie, 1, failing_since=Now())

    assert webhook_delivery._claim([]) == failing[0]
    assert webhook_delivery._claim(failing[:1]) == good
    assert webhook_delivery._claim(failing[:1]) == others
    assert webhook_delivery._claim(failing[:1]) is None


def test_who_finds_all_of_it_locked_looks_again_after_a_while(delivery, monkeypatch) -> None:
    paused = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        WebhookDelivery.objects.filter(pk=delivery.pk).update(next_try_at=None)

    monkeypatch.setattr(webhook_delivery, "_send_many", lambda: 0)
    monkeypatch.setattr(webhook_delivery, "time", SimpleNamespace(sleep=pause))

    webhook_delivery.send_due()

    assert paused == [webhook_delivery.POLL_SECONDS]


def test_who_has_sent_something_looks_again_at_once(delivery, monkeypatch) -> None:
    own = WebhookDelivery.objects.filter(pk=delivery.pk)
    monkeypatch.setattr(webhook_delivery, "_send_many", lambda: own.update(next_try_at=None))
    monkeypatch.setattr(webhook_delivery, "time", SimpleNamespace(sleep=lambda seconds: 1 / 0))

    webhook_delivery.send_due()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_the_thread_leaves_no_connection_behind(alice, monkeypatch, caplog, ends) -> None:
    closed = []

    def send() -> None:
        WebhookDelivery.objects.exists()
        closed.append(connection.connection)
        if ends == "badly":
            raise ValueError("broken off here")

    deliveries_of(alice, 1)
    monkeypatch.setattr(webhook_delivery, "send_due", send)

    webhook_delivery.send_in_background()
    for thread in threading.enumerate():
        if thread.name == "webhooks":
            thread.join(20)

    assert [opened.closed for opened in closed] == [True]
    assert ("broken off here" in caplog.text) == (ends == "badly")


def test_no_thread_where_nothing_is_due(endpoint, monkeypatch) -> None:
    monkeypatch.setattr(webhook_delivery.threading, "Thread", lambda **_: 1 / 0)

    webhook_delivery.send_in_background()


# When the reaper rings.


def rung(task: str = "projects.tasks.deliver_webhooks") -> int:
    return sum(ticket.func() == task for ticket in OrmQ.objects.all())


@pytest.mark.parametrize(("seconds", "times"), [(4, 0), (6, 1)])
def test_an_event_that_nobody_hands_out_is_rung_for_after_five_seconds(neighbour, seconds, times) -> None:
    WebhookEvent.objects.create(type=EventType.PING, created_at=Now() - timedelta(seconds=seconds))
    event = WebhookEvent.objects.latest("version")
    WebhookEvent.objects.filter(pk=event.pk).update(created_at=Now() - timedelta(seconds=seconds))

    outbox.enqueue_if_due()

    assert rung() == times


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"next_try_at": Now() - timedelta(seconds=1)}, 1),
        ({"next_try_at": Now() + timedelta(minutes=1)}, 0),
        ({"next_try_at": None}, 0),
    ],
)
def test_a_delivery_that_is_due_is_rung_for(delivery, changes, times) -> None:
    OrmQ.objects.all().delete()
    WebhookDelivery.objects.filter(pk=delivery.pk).update(**changes)

    outbox.enqueue_if_due()

    assert rung() == times


def test_a_delivery_of_a_disabled_endpoint_is_not_rung_for(delivery, endpoint) -> None:
    OrmQ.objects.all().delete()
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=Now())

    outbox.enqueue_if_due()

    assert rung() == 0


def test_what_happens_is_rung_for_at_once_and_told_once(alice, endpoint) -> None:
    create(alice)
    assert rung() == 1
    render = Render.objects.get(take__project__tenant=alice.tenant)
    before = WebhookEvent.objects.count()
    outbox.record(render=render)
    assert (rung(), WebhookEvent.objects.count()) == (1, before)


def test_a_subject_is_told_of_once(endpoint) -> None:
    events = [WebhookEvent(type=EventType.PING, subject=subject) for subject in ("a", "b")]
    outbox.record_once(events[:1])
    assert rung() == 1
    OrmQ.objects.all().delete()
    outbox.record_once([WebhookEvent(type=EventType.PING, subject="a")])
    assert rung() == 0
    outbox.record_once([WebhookEvent(type=EventType.PING, subject="a"), events[1]])
    assert rung() == 1
    assert WebhookEvent.objects.exclude(subject=None).count() == 2


def test_events_are_handed_out_oldest_first_and_so_many_at_once(alice, endpoint, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 2)
    for _ in range(3):
        create(alice)
    waiting = list(WebhookEvent.objects.filter(handed_out_at=None).order_by("version"))

    assert outbox.fan_out() == 2
    assert list(WebhookEvent.objects.filter(handed_out_at=None)) == waiting[2:]
    assert outbox.fan_out() == 1
    assert outbox.fan_out() == 0


def test_progress_is_not_told_to_who_fails(alice, endpoint) -> None:
    good = WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://good.example", events=list(EventType))
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=Now())
    create(alice)
    render = Render.objects.get(take__project__tenant=alice.tenant)
    Render.objects.filter(pk=render.pk).update(state="running", lease_until=Now() + timedelta(hours=1))
    event = WebhookEvent.objects.create(
        type=EventType.PROGRESS, project_id=render.take.project_id, render_id=render.pk, subject="p"
    )

    outbox.fan_out()

    assert [delivery.endpoint for delivery in event.deliveries.all()] == [good]
    assert WebhookDelivery.objects.filter(endpoint=endpoint, event__type=EventType.QUEUED).exists()


def test_a_deleted_projects_events_are_told_to_nobody(alice, endpoint) -> None:
    project = create(alice)
    Render.objects.filter(take__project=project["id"]).update(state="queued")
    alice.delete(f"{PROJECTS}/{project['id']}")

    assert outbox.fan_out()

    assert not WebhookDelivery.objects.filter(endpoint=endpoint).exists()
    assert not WebhookEvent.objects.filter(handed_out_at=None).exists()


# Deletions.


@pytest.fixture
def deletion(alice, neighbour) -> Deletion:
    alice.delete(create(alice)["urls"]["self"])
    return Deletion.objects.get(tenant=alice.tenant)


LAST_LOOK = timedelta(seconds=settings.RENDER_HANG_SECONDS + settings.RENDER_LEASE_SECONDS)


def ended(deletion: Deletion, ago: timedelta) -> None:
    Render.objects.filter(take__project=deletion.project).update(completed_at=Now() - ago)


def test_a_sweep_is_repeated_when_no_worker_can_be_storing_any_more(deletion) -> None:
    ended(deletion, timedelta(0))
    assert project_deletion.sweep_next()
    deletion.refresh_from_db()
    assert deletion.completed_at is None
    assert LAST_LOOK - timedelta(seconds=20) < deletion.sweep_after - timezone.now() <= LAST_LOOK
    assert not project_deletion.sweep_next()

    ended(deletion, LAST_LOOK + timedelta(seconds=1))
    Deletion.objects.filter(pk=deletion.pk).update(sweep_after=Now())
    assert project_deletion.sweep_next()
    deletion.refresh_from_db()
    assert deletion.completed_at is not None
    Deletion.objects.filter(pk=deletion.pk).update(sweep_after=Now())
    assert not project_deletion.sweep_next()


def test_a_sweep_that_broke_off_is_another_workers_after_ten_minutes(deletion) -> None:
    assert project_deletion._claim() == deletion
    deletion.refresh_from_db()
    assert timedelta(seconds=590) < deletion.sweep_after - timezone.now() <= timedelta(seconds=600)
    assert project_deletion._claim() is None
    Deletion.objects.filter(pk=deletion.pk).update(sweep_after=F("sweep_after") - timedelta(seconds=601))
    assert project_deletion._claim() == deletion


def test_a_deletion_that_is_due_is_rung_for_and_no_other(deletion) -> None:
    OrmQ.objects.all().delete()
    project_deletion.enqueue_if_due()
    assert rung("projects.tasks.delete_media") == 1
    Deletion.objects.filter(pk=deletion.pk).update(sweep_after=Now() + timedelta(seconds=5))
    project_deletion.enqueue_if_due()
    Deletion.objects.filter(pk=deletion.pk).update(sweep_after=Now(), completed_at=Now())
    project_deletion.enqueue_if_due()
    assert rung("projects.tasks.delete_media") == 1


def test_files_of_all_sweeps_are_counted(deletion, monkeypatch) -> None:
    ended(deletion, timedelta(0))
    monkeypatch.setattr(project_deletion.removal, "delete_videos", lambda render: 2)
    monkeypatch.setattr(project_deletion.removal, "delete_work", lambda render: 3)
    monkeypatch.setattr(project_deletion.assets, "delete_stray_speech", lambda render: 4)
    for files in (9, 18):
        Deletion.objects.filter(pk=deletion.pk).update(sweep_after=Now())
        project_deletion.sweep_next()
        deletion.refresh_from_db()
        assert deletion.files == files


def test_another_trouble_than_an_end_is_not_taken_for_one(alice, neighbour, monkeypatch) -> None:
    project = create(alice)

    def refuse(code: str):
        def cancel(render) -> None:
            raise ServiceError(code, "No.")

        return cancel

    monkeypatch.setattr(project_deletion.transitions, "request_cancel", refuse("internal"))
    with pytest.raises(ServiceError):
        project_deletion.delete_project(Render.objects.get(take__project=project["id"]).take.project, alice.key)
    assert not Deletion.objects.filter(tenant=alice.tenant).exists()
    monkeypatch.setattr(project_deletion.transitions, "request_cancel", refuse("invalid_state"))
    project_deletion.delete_project(Render.objects.get(take__project=project["id"]).take.project, alice.key)
    assert Deletion.objects.filter(tenant=alice.tenant).exists()
