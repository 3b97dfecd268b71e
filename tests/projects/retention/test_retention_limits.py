"""What is over, just before and just after, of whom, and in which order."""

import time
from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django_q.models import OrmQ

from accounts.models import IdempotentResponse
from projects.assets import services as assets
from projects.models import Asset, Avatar, Project, RetentionFailure, Take
from projects.retention import policy as retention
from render.models import Render, State
from render.storage.backends.files import SignedFileStorage
from render.storage.failures import Reason, StorageFailure
from tests.projects.steps import create, finished_project, latest_render

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]

DAY = timedelta(days=1)


def in_turn(due, by: str) -> list:
    return [row for page in retention._pages(due, by) for row in page]


def asset(alice, days: float, **fields) -> Asset:
    """Made so long ago."""
    given = {"filename": "x", "content_type": "audio/wav", "num_bytes": 1, "state": Asset.State.READY, **fields}
    made = Asset.objects.create(tenant=alice.tenant, key=f"{alice.tenant.pk}/{days}-{len(fields)}", **given)
    Asset.objects.filter(pk=made.pk).update(created_at=Now() - days * DAY)
    return made


def age(render: Render, days: float) -> Render:
    Render.objects.filter(pk=render.pk).update(completed_at=Now() - days * DAY)
    return render


def old_render(alice, days: float) -> Render:
    return age(latest_render(finished_project(alice)["id"]), days)


def test_films_go_by_the_plans_days_oldest_first(alice) -> None:
    young, old, older = (old_render(alice, days) for days in (29.9, 30.1, 31))
    Render.objects.filter(pk=latest_render(create(alice)["id"]).pk).update(created_at=Now() - 40 * DAY)

    assert in_turn(retention.videos(), "completed_at") == [older, old]
    Render.objects.filter(pk=older.pk).update(films_deleted_at=Now())
    assert in_turn(retention.videos(), "completed_at") == [old]
    alice.tenant.plan.retention_days = 29
    alice.tenant.plan.save()
    assert in_turn(retention.videos(), "completed_at") == [old, young]


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
def test_what_broke_off_is_looked_at_too(alice, state) -> None:
    render = latest_render(create(alice)["id"])
    Render.objects.filter(pk=render.pk).update(state=state, completed_at=Now() - 31 * DAY)

    assert in_turn(retention.videos(), "completed_at") == in_turn(retention.work(), "completed_at") == [render]


def test_work_goes_after_a_week_oldest_first(alice) -> None:
    _, old, older = (old_render(alice, days) for days in (6.9, 7.1, 8))

    assert in_turn(retention.work(), "completed_at") == [older, old]
    Render.objects.filter(pk=older.pk).update(work_deleted_at=Now())
    assert in_turn(retention.work(), "completed_at") == [old]


@pytest.mark.parametrize(("days", "needed"), [(None, True), (6.9, True), (7.1, False)])
def test_work_is_kept_as_long_as_a_take_of_its_project_may_need_it(alice, days, needed) -> None:
    first = old_render(alice, 20)
    second = latest_render(create(alice)["id"])
    Take.objects.filter(render=second).update(project=first.take.project, number=2)
    if days is not None:
        Render.objects.filter(pk=second.pk).update(state=State.FAILED, completed_at=Now() - days * DAY)

    assert (first not in retention.work()) == needed


def test_speech_goes_by_the_plans_days_and_no_upload_does(alice) -> None:
    spoken = {"origin": Asset.Origin.SPEECH}
    old, older = (asset(alice, days, **spoken) for days in (30.1, 32))
    asset(alice, 29.9, **spoken)
    asset(alice, 40)
    asset(alice, 41, **spoken, deleted_at=Now())
    Avatar.objects.create(tenant=alice.tenant, name="x", asset=asset(alice, 42, **spoken, kind="image"))

    assert in_turn(retention.speech(), "created_at") == [older, old]


def test_dead_assets_go_after_thirty_days(alice) -> None:
    expired, errored = (asset(alice, days, state=state) for days, state in ((31, "expired"), (30.1, "errored")))
    deleted = asset(alice, 30.5, deleted_at=Now() - 30.1 * DAY)
    asset(alice, 29.9, state="expired")
    asset(alice, 99)
    asset(alice, 98, state="waiting")
    asset(alice, 97, deleted_at=Now() - 29.9 * DAY)
    Avatar.objects.create(tenant=alice.tenant, name="x", asset=asset(alice, 96, state="errored"))

    assert in_turn(retention.dead_assets(), "created_at") == [expired, deleted, errored]


LATER = time.monotonic() + 10**6


def test_a_part_goes_on_until_nothing_is_due_and_asks_for_nothing_twice(alice, monkeypatch) -> None:
    """However many there are, also of the same moment, and whatever is kept among them."""
    monkeypatch.setattr(retention, "PAGE", 2)
    renders = [old_render(alice, days) for days in (33, 32, 31)]
    moment = renders[1].pk, old_render(alice, 31).pk, old_render(alice, 31).pk
    Render.objects.filter(pk__in=moment).update(completed_at=Now() - 32 * DAY)
    taken = []

    retention._each("films", retention.videos(), "completed_at", taken.append, LATER)

    expected = [renders[0].pk, *sorted(moment), renders[2].pk]
    assert [render.pk for render in taken] == expected


def test_what_is_in_use_hides_nothing_and_waits_a_day(alice, monkeypatch, admin_client) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    spoken = {"origin": Asset.Origin.SPEECH, "kind": Asset.Kind.AUDIO}
    kept = [asset(alice, 40 + number, **spoken) for number in range(4)]
    for each in kept:
        create(alice, audio_url=f"asset:{each.pk}")
    free = asset(alice, 31, **spoken)
    asked = []
    real = assets.delete_unused_speech
    monkeypatch.setattr(
        assets, "delete_unused_speech", lambda each, **named: asked.append(each.pk) or real(each, **named)
    )

    retention.run()

    assert Asset.objects.get(pk=free.pk).deleted_at is not None
    assert not Asset.objects.filter(pk__in=[each.pk for each in kept]).exclude(deleted_at=None).exists()
    assert sorted(asked) == sorted(each.pk for each in (*kept, free))
    retention.run()
    assert len(asked) == 5
    assert "0 retention failures" in admin_client.get("/admin/projects/retentionfailure/?step=speech").content.decode()
    # In the end it goes, too, and nothing is left of its waiting.
    Project.objects.filter(tenant=alice.tenant).update(updated_at=Now() - 99 * DAY)
    Render.objects.filter(tenant=alice.tenant).update(sources={})
    RetentionFailure.objects.filter(step="speech").update(next_try_at=Now())
    retention.run()
    assert not retention.speech().exists()
    assert not RetentionFailure.objects.filter(step="speech").exists()


def test_a_part_ends_with_its_time_and_has_done_something(alice, monkeypatch) -> None:
    """However slowly it has come so far: else the next ticket might come no farther."""
    monkeypatch.setattr(retention, "BATCH", 1)
    over, taken = time.monotonic() - 1, []
    renders = [old_render(alice, days) for days in (33, 32)]
    for key in "ab":
        IdempotentResponse.objects.create(tenant=alice.tenant, route="x", key=key, fingerprint="x", status=200, body={})
    responses = IdempotentResponse.objects.filter(tenant=alice.tenant)

    assert retention._each("films", retention.videos(), "completed_at", taken.append, over)
    assert retention._rows(responses, over)
    assert (taken, responses.count()) == (renders[:1], 1)
    assert not retention._each("films", retention.videos().none(), "completed_at", taken.append, over)
    assert not retention._rows(responses.none(), over)


def test_what_the_storage_refuses_keeps_nothing_from_the_next(alice) -> None:
    renders = [old_render(alice, days) for days in (33, 32)]
    tried = []

    def refuse_the_first(render: Render) -> None:
        tried.append(render)
        if len(tried) == 1:
            raise StorageFailure(Reason.UNAVAILABLE, "away")

    retention._each("films", retention.videos(), "completed_at", refuse_the_first, LATER)

    assert tried == renders


def test_rows_go_in_batches_until_none_is_left(alice, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        IdempotentResponse.objects.create(
            tenant=alice.tenant, route="x", key=str(number), fingerprint="x", status=200, body={}
        )
    IdempotentResponse.objects.filter(tenant=alice.tenant, key__in="0123").update(
        created_at=F("created_at") - timedelta(days=8)
    )

    retention._rows(IdempotentResponse.objects.filter(created_at__lt=Now() - 7 * DAY), LATER)

    assert [left.key for left in IdempotentResponse.objects.filter(tenant=alice.tenant)] == ["4"]


def test_another_ticket_is_rung_for_only_when_the_time_was_too_short(alice, monkeypatch) -> None:
    OrmQ.objects.all().delete()
    retention.run()
    assert not OrmQ.objects.exists()

    for days in (33, 32):
        old_render(alice, days)
    OrmQ.objects.all().delete()
    monkeypatch.setattr(retention, "SECONDS_AT_ONCE", -1.0)
    retention.run()
    assert [ticket.func() for ticket in OrmQ.objects.all()] == ["projects.tasks.keep_retention"]
    assert retention.videos().count() == 1


def test_while_the_storage_is_away_it_is_left_to_the_next_hour(alice, monkeypatch) -> None:
    """Else a worker would do nothing but wait for the storage."""
    for days in (33, 32):
        old_render(alice, days)
    OrmQ.objects.all().delete()

    def refuse(self, name: str) -> int:
        raise StorageFailure(Reason.UNAVAILABLE, "away")

    monkeypatch.setattr(SignedFileStorage, "delete_folder", refuse)
    monkeypatch.setattr(retention, "SECONDS_AT_ONCE", -1.0)
    retention.run()

    assert not OrmQ.objects.exists()
    assert retention.videos().count() == 2
