"""What is over, just before and just after, of whom, and in which order."""

import time
from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django_q.models import OrmQ

from accounts.models import IdempotentResponse
from projects import retention
from projects.models import Asset, Avatar, Take
from render.models import Render, State
from render.storages.failures import Reason, StorageFailure
from render.storages.files import SignedFileStorage
from tests.projects.steps import create, finished_project, latest_render

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]

DAY = timedelta(days=1)


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

    assert list(retention.films()) == [older, old]
    Render.objects.filter(pk=older.pk).update(films_deleted_at=Now())
    assert list(retention.films()) == [old]
    alice.tenant.plan.retention_days = 29
    alice.tenant.plan.save()
    assert list(retention.films()) == [old, young]


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELED])
def test_what_broke_off_is_looked_at_too(alice, state) -> None:
    render = latest_render(create(alice)["id"])
    Render.objects.filter(pk=render.pk).update(state=state, completed_at=Now() - 31 * DAY)

    assert list(retention.films()) == list(retention.work()) == [render]


def test_work_goes_after_a_week_oldest_first(alice) -> None:
    _, old, older = (old_render(alice, days) for days in (6.9, 7.1, 8))

    assert list(retention.work()) == [older, old]
    Render.objects.filter(pk=older.pk).update(work_deleted_at=Now())
    assert list(retention.work()) == [old]


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

    assert list(retention.speech()) == [older, old]


def test_dead_assets_go_after_thirty_days(alice) -> None:
    expired, errored = (asset(alice, days, state=state) for days, state in ((31, "expired"), (30.1, "errored")))
    deleted = asset(alice, 30.5, deleted_at=Now() - 30.1 * DAY)
    asset(alice, 29.9, state="expired")
    asset(alice, 99)
    asset(alice, 98, state="waiting")
    asset(alice, 97, deleted_at=Now() - 29.9 * DAY)
    Avatar.objects.create(tenant=alice.tenant, name="x", asset=asset(alice, 96, state="errored"))

    assert list(retention.dead_assets()) == [expired, deleted, errored]


LATER = time.monotonic() + 10**6


def test_a_part_takes_so_many_at_once(alice, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    renders = [old_render(alice, days) for days in (33, 32, 31)]
    taken = []

    retention._each("films", retention.films(), taken.append, LATER)

    assert taken == renders[:2]


def test_a_part_ends_with_its_time_and_has_done_something(alice, monkeypatch) -> None:
    """However slowly it has come so far: else the next ticket might come no farther."""
    monkeypatch.setattr(retention, "BATCH", 1)
    over, taken = time.monotonic() - 1, []
    renders = [old_render(alice, days) for days in (33, 32)]
    for key in "ab":
        IdempotentResponse.objects.create(tenant=alice.tenant, route="x", key=key, fingerprint="x", status=200, body={})
    responses = IdempotentResponse.objects.filter(tenant=alice.tenant)

    assert retention._each("films", retention.films(), taken.append, over)
    assert retention._rows(responses, over)
    assert (taken, responses.count()) == (renders[:1], 1)
    assert not retention._each("films", retention.films().none(), taken.append, over)
    assert not retention._rows(responses.none(), over)


def test_what_the_storage_refuses_keeps_nothing_from_the_next(alice) -> None:
    renders = [old_render(alice, days) for days in (33, 32)]
    tried = []

    def refuse_the_first(render: Render) -> None:
        tried.append(render)
        if len(tried) == 1:
            raise StorageFailure(Reason.UNAVAILABLE, "away")

    retention._each("films", retention.films(), refuse_the_first, LATER)

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
    assert retention.films().count() == 1


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
    assert retention.films().count() == 2
