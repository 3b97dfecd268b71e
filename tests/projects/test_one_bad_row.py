"""A row that always fails keeps back no other one: it steps aside, is logged and tried again later."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import InterfaceError, OperationalError
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import ApiKey, Scope, UsageThreshold
from creatorify.operations import invariants
from projects.models import Asset, Deletion, Project, RetentionFailure
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.retention import policy as retention
from projects.retention import project_deletion
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox, polled_events, sender
from render.lifecycle import reaper, retries
from render.models import Render, State
from render.queue import tickets
from render.signals import housekeeping
from render.storage import media
from render.storage.failures import Reason, StorageFailure
from tests.projects.steps import claim, create, finished_project, latest_render, make_projects

pytestmark = pytest.mark.django_db
BAD = 7


@pytest.fixture
def stranger(charlie):
    ApiKey.objects.filter(pk=charlie.key.pk).update(scopes=list(Scope))
    return charlie


def store_film(render: Render) -> str:
    key = f"{media.folder_of(render)}/a1/film.mp4"
    media.storage_of(key).save(key, ContentFile(b"film"))
    return key


@pytest.fixture
def films(alice, stranger, monkeypatch) -> list[Render]:
    """Old ones; all but the last, the stranger's, cannot be deleted."""
    renders = [latest_render(str(project.pk)) for project in [*make_projects(alice, BAD), *make_projects(stranger, 1)]]
    for number, render in enumerate(renders):
        render.attempt, render.state = 1, State.FINISHED
        render.completed_at = timezone.now() - timedelta(days=40, seconds=-number)
        store_film(render)
    Render.objects.bulk_update(renders, ["attempt", "state", "completed_at"])
    return renders


def refuse(monkeypatch, names: list[str], failure: Exception) -> list[str]:
    """Let deletions below these fail in both storages; return what was tried, as it comes."""
    tried = []
    for storage in {type(storages["default"]), type(storages["work"])}:
        real = storage.delete_folder

        def delete_folder(self, name: str, real=real) -> int:
            tried.append(name)
            if any(bad in name for bad in names):
                raise failure
            return real(self, name)

        monkeypatch.setattr(storage, "delete_folder", delete_folder)
    return tried


@pytest.mark.parametrize(
    "failure", [StorageFailure(Reason.REFUSED, "no"), StorageFailure(Reason.UNAVAILABLE, "no"), ValueError("no")]
)
def test_rows_that_fail_keep_back_no_other_films_and_no_other_step(films, monkeypatch, caplog, failure) -> None:
    bad = [str(render.pk) for render in films[:BAD]]
    refuse(monkeypatch, bad, failure)

    retention.run()

    gone = Render.objects.exclude(films_deleted_at=None).exclude(work_deleted_at=None)
    assert list(gone) == [films[-1]]
    failures = RetentionFailure.objects.order_by("step")
    assert {(row.step, row.row_id) for row in failures} == {(step, pk) for step in ("films", "work") for pk in bad}
    assert sum("is kept for now" in record.getMessage() for record in caplog.records) == 2 * BAD


def test_a_row_that_failed_steps_aside_for_longer_each_time_and_goes_in_the_end(films, monkeypatch) -> None:
    bad = films[0]
    with monkeypatch.context() as failing:
        tried = refuse(failing, [str(bad.pk)], StorageFailure(Reason.REFUSED, "no"))
        waits = []
        for _ in range(10):
            retention.run()
            number = len(tried)
            retention.run()
            assert len(tried) == number  # Not before its time.
            row = RetentionFailure.objects.get(step="films")
            waits.append(round((row.next_try_at - timezone.now()) / timedelta(hours=1)))
            RetentionFailure.objects.update(next_try_at=Now())
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 168, 168]
        assert row.error == "refused: no"

    retention.run()

    assert not RetentionFailure.objects.exists()
    assert not Render.objects.filter(films_deleted_at=None).exists()


def test_a_row_that_goes_in_the_end_is_forgotten_and_others_are_not(films, monkeypatch) -> None:
    first, second = (str(render.pk) for render in films[:2])
    with monkeypatch.context() as failing:
        refuse(failing, [first, second], StorageFailure(Reason.REFUSED, "no"))
        retention.run()
    refuse(monkeypatch, [second], StorageFailure(Reason.REFUSED, "no"))
    RetentionFailure.objects.filter(row_id=first).update(next_try_at=Now())

    retention.run()

    assert set(RetentionFailure.objects.values_list("step", "row_id")) == {("films", second), ("work", second)}


def test_a_storage_that_is_away_is_left_alone_and_no_row_steps_aside(films, monkeypatch) -> None:
    tried = refuse(monkeypatch, [""], StorageFailure(Reason.UNAVAILABLE, "away"))

    retention.run()

    # Of each step one row, and then the question whether the storage is there.
    assert len(tried) == 2 * 2
    assert not Render.objects.exclude(films_deleted_at=None).exists()
    assert not RetentionFailure.objects.exists()


def test_dead_assets_and_speech_step_aside_too(alice, stranger, monkeypatch) -> None:
    fields = {"content_type": "image/png", "num_bytes": 5}
    for number in range(BAD):
        Asset.objects.create(tenant=alice.tenant, key=f"bad/{number}.png", state="errored", **fields)
        Asset.objects.create(tenant=alice.tenant, key=f"bad/{number}.wav", state="ready", origin="speech", **fields)
    Asset.objects.create(tenant=stranger.tenant, key="good/0.png", state="errored", **fields)
    Asset.objects.create(tenant=stranger.tenant, key="good/0.wav", state="ready", origin="speech", **fields)
    Asset.objects.update(created_at=F("created_at") - timedelta(days=99))
    real_dead, real_speech = retention._delete_dead_asset, retention._delete_speech

    def fail_for_bad(real):
        def delete(asset: Asset) -> None:
            if asset.key.startswith("bad/"):
                raise StorageFailure(Reason.REFUSED, "no")
            real(asset)

        return delete

    monkeypatch.setattr(retention, "_delete_dead_asset", fail_for_bad(real_dead))
    monkeypatch.setattr(retention, "_delete_speech", fail_for_bad(real_speech))

    retention.run()

    assert not Asset.objects.filter(key="good/0.png").exists()
    assert list(Asset.objects.exclude(deleted_at=None).values_list("key", flat=True)) == ["good/0.wav"]
    assert RetentionFailure.objects.count() == 2 * BAD


def test_a_step_that_breaks_off_stops_no_other_step(films, monkeypatch, caplog) -> None:
    monkeypatch.setattr(retention, "speech", _Broken)
    WebhookEvent.objects.create(type=EventType.PING)
    WebhookEvent.objects.update(created_at=F("created_at") - timedelta(days=31))

    retention.run()

    assert not WebhookEvent.objects.exists()
    assert not Render.objects.filter(films_deleted_at=None).exists()
    assert "A step of the retention has broken off" in caplog.text


class _Broken:
    def filter(self, *args: object) -> None:
        raise ValueError("broken")


def endpoint(caller, *events: str) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        tenant=caller.tenant, url="https://example.com/hook", events=list(events or [EventType.QUEUED])
    )


@pytest.fixture
def events(alice, stranger, monkeypatch) -> list[WebhookEvent]:
    """Of alice one that cannot be shown, of the stranger three after it."""
    endpoint(alice), endpoint(stranger)
    create(alice)
    for _ in range(3):
        create(stranger)
    found = list(WebhookEvent.objects.order_by("version"))
    real = outbox._data

    def data(event: WebhookEvent, project):
        if event.pk == found[0].pk:
            WebhookDelivery.objects.create(event=event, endpoint=WebhookEndpoint.objects.first(), body="half done")
            raise LookupError("It cannot be shown.")
        return real(event, project)

    monkeypatch.setattr(outbox, "_data", data)
    return found


def test_an_event_that_cannot_be_shown_keeps_back_no_other(events, caplog) -> None:
    assert outbox.fan_out() == 4

    assert set(WebhookDelivery.objects.values_list("event", flat=True)) == {event.pk for event in events[1:]}
    bad = WebhookEvent.objects.get(pk=events[0].pk)
    assert (bad.handed_out_at, bad.hand_out_tries, bad.hand_out_error) == (None, 1, "LookupError")
    assert bad.next_hand_out_at > timezone.now() + timedelta(seconds=50)
    assert f"The message of event {bad} could not be made in try 1, it is tried again later" in caplog.text
    assert outbox.fan_out() == 0


def test_an_event_of_a_project_without_that_render_is_given_up_at_once_and_stops_nobody(alice, charlie, caplog) -> None:
    for caller in (alice, charlie):
        WebhookEndpoint.objects.create(tenant=caller.tenant, url="https://example.com/hook", events=[EventType.FAILED])
    project = create(alice)
    good = create(charlie)
    WebhookEvent.objects.all().delete()
    bad = WebhookEvent.objects.create(type=EventType.FAILED, project_id=project["id"], render_id=None)
    WebhookEvent.objects.create(type=EventType.FAILED, project_id=good["id"], render_id=latest_render(good["id"]).pk)

    assert outbox.fan_out() == 2

    bad.refresh_from_db()
    assert (bad.given_up_at is not None, bad.handed_out_at, bad.hand_out_error) == (True, None, "CannotBeMade")
    assert f"Project {project['id']} has no render None" in caplog.text
    assert [delivery.event.project_id for delivery in WebhookDelivery.objects.all()] == [UUID(good["id"])]
    assert outbox.fan_out() == 0


def test_it_is_tried_again_and_given_up_visibly(events, caplog, admin_client) -> None:
    outbox.fan_out()
    minute, hour = 60, 3600
    for wait in (minute, 5 * minute, 30 * minute, 2 * hour, 6 * hour, 12 * hour, 24 * hour):
        bad = WebhookEvent.objects.annotate(wait=F("next_hand_out_at") - Now()).get(pk=events[0].pk)
        assert bad.given_up_at is None
        assert timedelta(seconds=wait / 2) < bad.wait <= timedelta(seconds=wait)
        WebhookEvent.objects.update(next_hand_out_at=Now())
        assert outbox.fan_out() == 1
    bad = WebhookEvent.objects.get(pk=events[0].pk)
    assert bad.given_up_at is not None
    assert "it is given up" in caplog.text
    WebhookEvent.objects.update(next_hand_out_at=Now())
    assert outbox.fan_out() == 0

    page = admin_client.get("/admin/projects/webhookevent/?given_up_at__isempty=0").content.decode()

    assert page.count('class="field-outcome"') == 1
    assert 'class="field-outcome">given up<' in page
    assert admin_client.get(f"/admin/projects/webhookevent/{bad.pk}/change/").status_code == 200


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_the_database_no_event_is_blamed(events, monkeypatch, error) -> None:
    def data(event: WebhookEvent, project):
        raise error("the connection is lost")

    monkeypatch.setattr(outbox, "_data", data)

    with pytest.raises(error):
        outbox.fan_out()

    assert not WebhookEvent.objects.filter(hand_out_tries__gt=0).exists()
    assert not WebhookDelivery.objects.exists()


def test_what_could_be_shown_later_is_told(events, monkeypatch) -> None:
    outbox.fan_out()
    monkeypatch.undo()
    WebhookEvent.objects.update(next_hand_out_at=Now())

    assert outbox.fan_out() == 1

    assert WebhookDelivery.objects.filter(event=events[0]).count() == 1
    assert WebhookDelivery.objects.get(event=events[0]).body != "half done"


def test_the_reaper_rings_for_what_is_due_again_and_not_before(events, monkeypatch) -> None:
    outbox.fan_out()
    WebhookDelivery.objects.all().delete()
    rung = []
    monkeypatch.setattr(outbox, "enqueue", lambda: rung.append(1))
    WebhookEvent.objects.update(created_at=F("created_at") - timedelta(minutes=20))
    outbox.enqueue_if_due()
    assert not rung
    assert "messages_move_on" in {finding.invariant.name for finding in invariants.check()}

    WebhookEvent.objects.update(next_hand_out_at=Now())
    outbox.enqueue_if_due()

    assert rung


def test_a_delivery_that_cannot_be_signed_keeps_back_no_other(alice, stranger, monkeypatch, caplog) -> None:
    bad, good = endpoint(alice), endpoint(stranger)
    WebhookEndpoint.objects.filter(pk=bad.pk).update(secret="whsec_not base64!")
    event = WebhookEvent.objects.create(type=EventType.PING, handed_out_at=Now())
    for each in (bad, good):
        WebhookDelivery.objects.create(event=event, endpoint=each, body="{}")

    def send(delivery: WebhookDelivery) -> sender.SendResult:
        sender.signatures(delivery.endpoint, "msg_1", timezone.now(), delivery.body)
        return sender.SendResult(status=204)

    monkeypatch.setattr(sender, "_post", send)
    webhook_delivery.send_due()

    assert WebhookDelivery.objects.get(endpoint=good).delivered_at is not None
    failed = WebhookDelivery.objects.get(endpoint=bad)
    assert (failed.delivered_at, failed.tries) == (None, 1)
    assert failed.next_try_at > timezone.now()
    assert f"Delivery {failed.pk} could not be sent" in caplog.text


def test_one_kind_of_news_keeps_back_no_other(alice, monkeypatch, caplog) -> None:
    endpoint(alice, EventType.THRESHOLD_REACHED, EventType.PROGRESS)
    UsageThreshold.objects.create(
        tenant=alice.tenant,
        month=timezone.now().date().replace(day=1),
        measure="seconds",
        percent=80,
        used=8,
        allowed=9,
    )

    def broken():
        raise LookupError("broken")

    monkeypatch.setattr(polled_events, "_progress", broken)

    polled_events.record()

    assert [event.type for event in WebhookEvent.objects.all()] == [EventType.THRESHOLD_REACHED]
    assert "Events were not recorded: broken" in caplog.text


def test_a_project_that_cannot_be_swept_keeps_back_no_other(alice, stranger, monkeypatch, caplog) -> None:
    bad, good = (Project.objects.get(pk=finished_project(caller)["id"]) for caller in (alice, stranger))
    for project in (bad, good):
        Deletion.objects.create(project=project, tenant=project.tenant)
    real = project_deletion._sweep

    def sweep(deletion: Deletion) -> None:
        if deletion.project_id == bad.pk:
            raise LookupError("broken")
        real(deletion)

    monkeypatch.setattr(project_deletion, "_sweep", sweep)
    while project_deletion.sweep_next():
        pass

    good_one, bad_one = Deletion.objects.get(project=good), Deletion.objects.get(project=bad)
    assert good_one.project.title == project_deletion.TITLE
    assert bad_one.completed_at is None
    assert bad_one.sweep_after > timezone.now() + timedelta(minutes=9)
    assert f"The deleted project {bad.pk} could not be swept" in caplog.text


def test_a_render_that_cannot_be_reaped_keeps_back_no_other(alice, stranger, monkeypatch, caplog) -> None:
    renders = [latest_render(create(caller)["id"]) for caller in (alice, stranger)]
    for _ in renders:
        claim()
    Render.objects.update(lease_until=Now() - timedelta(hours=1))
    real = retries.reap

    def reap(render: Render) -> None:
        if render.pk == renders[0].pk:
            Render.objects.filter(pk=render.pk).update(crashes=99)
            raise LookupError("broken")
        real(render)

    monkeypatch.setattr(retries, "reap", reap)

    assert reaper.run() == 1

    bad, good = (Render.objects.get(pk=render.pk) for render in renders)
    assert (bad.state, bad.crashes, good.state) == (State.RUNNING, 0, State.QUEUED)
    assert f"The reaping of render {bad.pk} failed" in caplog.text
    monkeypatch.undo()
    assert reaper.run() == 1


def test_a_queue_that_cannot_be_topped_up_keeps_back_no_other(alice, stranger, monkeypatch, caplog) -> None:
    for caller, name in ((alice, "cpu"), (stranger, "gpu")):
        Render.objects.filter(pk=latest_render(create(caller)["id"]).pk).update(queue=name)
    told, topped = [], []

    def top_up(name: str) -> int:
        if not topped:
            topped.append(name)
            raise LookupError("broken")
        topped.append(name)
        return 0

    monkeypatch.setattr(tickets, "top_up", top_up)
    housekeeping.connect(listener := lambda **_: told.append(1), weak=False)
    try:
        reaper.run()
    finally:
        housekeeping.disconnect(listener)

    assert sorted(topped) == ["cpu", "gpu"]
    assert told
    assert f"The tickets of queue {topped[0]} failed" in caplog.text
