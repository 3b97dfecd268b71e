from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db.models import F
from django.db.models.functions import Now
from django_q.models import OrmQ, Task

from accounts.errors import ServiceError
from accounts.models import IdempotentResponse, UsageEntry
from creatorify.operations import invariants
from projects.models import Asset, Project
from projects.models.webhooks import EventType, WebhookEvent
from projects.retention import policy as retention
from projects.tasks import delete_media
from render.lifecycle import progress, retries, transitions
from render.models import Attempt, Render, Segment
from render.storage import media
from render.storage.failures import Reason, StorageFailure
from tests.projects.steps import PROJECTS, claim, create, finish, finished_project, latest_render

pytestmark = pytest.mark.django_db


def age(render: Render, days: float) -> None:
    """Its end, and what was written before that, so long ago."""
    past = timedelta(days=days)
    Segment.objects.filter(render=render).update(created_at=F("created_at") - past)
    Render.objects.filter(pk=render.pk).update(completed_at=F("completed_at") - past)


def put(render: Render, *names: str) -> list[str]:
    """Files as a worker stores them, in both storages."""
    keys = [f"{prefix}{media.folder_of(render)}/{name}" for name in names for prefix in ("", media.WORK)]
    for key in keys:
        media.storage_of(key).save(key, ContentFile(b"media"))
    return keys


def there(keys: list[str]) -> list[str]:
    return [key for key in keys if media.storage_of(key).exists(key)]


@pytest.fixture
def old(alice) -> Render:
    return latest_render(finished_project(alice)["id"])


def test_a_film_is_kept_as_long_as_the_plan_says(alice, old) -> None:
    alice.tenant.plan.retention_days = 90
    alice.tenant.plan.save()
    [film, work] = put(old, "a1/film.mp4")
    url = f"{PROJECTS}/{old.take.project_id}"
    age(old, 89)
    retention.run()
    assert there([film, work]) == [film]
    assert alice.get(url).json()["video_url"]

    age(old, 2)
    retention.run()

    assert there([film, work]) == []
    shown = alice.get(url).json()
    assert (shown["state"], shown["video_url"], shown["poster_url"], shown["preview_url"]) == ("finished", *[None] * 3)
    assert (shown["segment"], shown["segments_total"]) == (1, 1)
    assert UsageEntry.objects.get().billed_seconds == 2
    assert invariants.check() == []


def test_what_was_stored_of_a_film_that_was_never_finished_goes_as_well(alice) -> None:
    project = create(alice)
    claim()
    alice.post(project["urls"]["cancel"])
    retries.reap(Render.objects.get())
    canceled = Render.objects.get()
    assert canceled.state == "canceled"
    [film, _] = put(canceled, "a1/film.mp4")
    age(canceled, alice.tenant.plan.retention_days + 1)
    retention.run()

    assert there([film]) == []
    assert invariants.check() == []


def test_when_a_film_expires_is_told(alice, old) -> None:
    completed_at = Render.objects.get().completed_at

    shown = alice.get(f"{PROJECTS}/{old.take.project_id}").json()

    expected = completed_at + timedelta(days=alice.tenant.plan.retention_days)
    assert shown["video_expires_at"] == expected.isoformat().replace("+00:00", "Z")
    assert create(alice)["video_expires_at"] is None


def test_what_only_the_nodes_need_goes_after_a_week_with_what_dead_attempts_left(old) -> None:
    keys = put(old, "a1/film.mp4", "a2/never-recorded.ts")
    films, work = keys[::2], keys[1::2]
    age(old, 6.9)
    retention.run()
    assert there(work) == work

    age(old, 0.2)
    retention.run()

    assert there(work) == []
    assert there(films) == films
    assert not Segment.objects.exists()
    assert Render.objects.get().sources is None
    assert invariants.check() == []


def test_segments_that_another_take_goes_on_from_are_kept(alice) -> None:
    project = create(alice)
    claimed = claim()
    plan = {"segments": [{"start": 0, "stop": 25}, {"start": 25, "stop": 50}]}
    progress.prepared(claimed, sources={}, plan=plan, num_frames=50, segments_total=2)
    transitions.fail(claimed, ServiceError("upload_failed", "The storage is away."))
    failed = latest_render(project["id"])
    Render.objects.update(sources={"portrait": None, "video": None, "voices": [], "sound": []})
    [_, piece] = put(failed, "a1/segment.ts")
    alice.post(project["urls"]["retry"])
    age(failed, 8)

    retention.run()
    assert there([piece]) == [piece]

    finish(claim())
    retention.run()
    assert there([piece]) == [piece]
    age(latest_render(project["id"]), 8)
    retention.run()
    assert there([piece]) == []


def test_what_has_lost_its_segments_is_rendered_anew(alice) -> None:
    project = create(alice)
    claimed = claim()
    progress.prepared(claimed, sources={}, plan={"segments": []}, num_frames=50, segments_total=2)
    transitions.fail(claimed, ServiceError("upload_failed", "The storage is away."))
    age(latest_render(project["id"]), 8)
    retention.run()

    assert alice.post(project["urls"]["retry"]).status_code == 202

    assert latest_render(project["id"]).plan is None


def test_a_storage_that_is_away_loses_nothing(old, monkeypatch) -> None:
    keys = put(old, "a1/film.mp4")
    age(old, 40)

    def refuse(self, name: str) -> int:
        raise StorageFailure(Reason.UNAVAILABLE, "away")

    with monkeypatch.context() as away:
        away.setattr(type(storages["default"]), "delete_folder", refuse)
        retention.run()
    assert there(keys) == keys
    assert Segment.objects.exists()

    retention.run()
    assert there(keys) == []


def test_a_spoken_script_goes_with_its_film_and_an_upload_stays(alice) -> None:
    fields = {"tenant": alice.tenant, "content_type": "audio/wav", "num_bytes": 5, "state": "ready", "kind": "audio"}
    assets = {}
    for name, origin in {"spoken": "speech", "in-use": "speech", "uploaded": "upload"}.items():
        key = f"{alice.tenant.pk}/speech/{name}.wav"
        media.storage_of(key).save(key, ContentFile(b"voice"))
        assets[name] = Asset.objects.create(filename=name, origin=origin, key=key, **fields)
    Asset.objects.update(created_at=F("created_at") - timedelta(days=31))
    for name in ("spoken", "in-use"):
        create(alice, title=name, audio_url=f"asset:{assets[name].pk}")
    Render.objects.update(sources={})
    Project.objects.filter(title="spoken").update(updated_at=F("updated_at") - timedelta(days=31))

    retention.run()
    delete_media()

    gone = {asset.filename for asset in Asset.objects.exclude(deleted_at=None)}
    assert gone == {"spoken"}
    assert [name for name, asset in assets.items() if not there([asset.key])] == ["spoken"]


def test_dead_assets_lose_their_rows(alice) -> None:
    fields = {"tenant": alice.tenant, "content_type": "image/png", "num_bytes": 5}
    for state in ("expired", "errored", "ready"):
        Asset.objects.create(filename=state, key=f"{alice.tenant.pk}/{state}.png", state=state, **fields)
    Asset.objects.create(filename="deleted", key="d.png", state="ready", deleted_at=Now(), **fields)
    retention.run()
    assert Asset.objects.count() == 4

    past = timedelta(days=retention.DEAD_ASSETS.days + 1)
    Asset.objects.update(created_at=F("created_at") - past, deleted_at=F("deleted_at") - past)
    retention.run()

    assert [asset.filename for asset in Asset.objects.all()] == ["ready"]


def test_what_was_sent_after_it_was_refused_goes_with_the_row(alice, old) -> None:
    key = f"{alice.tenant.pk}/uploads/refused.png"
    media.storage_of(key).save(key, ContentFile(b"sent again"))
    Asset.objects.create(tenant=alice.tenant, content_type="image/png", num_bytes=5, key=key, state="errored")
    Asset.objects.update(created_at=F("created_at") - retention.DEAD_ASSETS - timedelta(days=1))

    retention.run()
    delete_media()

    assert not Asset.objects.exists()
    assert not there([key])


def test_rows_that_nobody_needs_go_after_their_time(alice, old) -> None:
    WebhookEvent.objects.create(type=EventType.PING)
    alice.post(PROJECTS, {"title": "x", "image_url": "https://a.example/i", "audio_url": "https://a.example/a"},
               format="json", headers={"Idempotency-Key": "one"})  # fmt: skip
    Task.objects.create(id="1", name="t", func="f", started=Now(), stopped=Now(), success=False)
    Session.objects.create(session_key="s", session_data="", expire_date=Now() + timedelta(days=1))
    kept = {
        IdempotentResponse: ("created_at", 7),
        WebhookEvent: ("created_at", 30),
        Task: ("stopped", 14),
        Session: ("expire_date", 1),
        Attempt: ("render__completed_at", 90),
    }
    for model, (field, days) in kept.items():
        before = model.objects.count()
        assert before
        if model is Attempt:
            age(old, days - 0.1)
        else:
            model.objects.update(**{field: F(field) - timedelta(days=days - 0.1)})
        retention.run()
        assert model.objects.count() == before, model
        if model is Attempt:
            age(old, 0.2)
        else:
            model.objects.update(**{field: F(field) - timedelta(days=0.2)})
        retention.run()
        assert model.objects.count() == 0, model
    assert UsageEntry.objects.count() == 2


def test_what_takes_long_goes_on_in_another_ticket(old, monkeypatch) -> None:
    monkeypatch.setattr(retention, "SECONDS_AT_ONCE", -1)
    age(old, 40)
    OrmQ.objects.all().delete()

    retention.run()
    assert Render.objects.get().films_deleted_at is not None
    assert [ticket.func() for ticket in OrmQ.objects.all()] == ["projects.tasks.keep_retention"]
