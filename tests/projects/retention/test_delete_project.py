from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import F
from django_q.models import OrmQ

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from creatorify.operations import invariants
from projects.models import Asset, Deletion, Project
from projects.models.webhooks import EventType, WebhookEndpoint
from projects.retention import project_deletion
from projects.tasks import delete_media
from projects.webhooks import outbox
from render.fence import CancelRequested
from render.lifecycle import progress, transitions
from render.machine import nodes
from render.models import Render, Segment, State
from render.storage import media
from render.storage.backends.files import SignedFileStorage
from render.storage.failures import Reason, StorageFailure
from tests.projects.steps import NEW, NO_SOURCES, PROJECTS, claim, create, finish, finished_project, latest_render


@pytest.fixture
def put():
    """Store files as a worker does, in both storages; returns their keys."""

    def store(project, *names):
        folder = media.folder_of(latest_render(project["id"]))
        keys = [f"{prefix}{folder}/{name}" for name in names for prefix in ("", media.WORK)]
        for key in keys:
            media.storage_of(key).save(key, ContentFile(b"media"))
        return keys

    return store


def there(keys):
    return [key for key in keys if media.storage_of(key).exists(key)]


def later(seconds):
    """So much time passes."""
    past = timedelta(seconds=seconds)
    Segment.objects.update(created_at=F("created_at") - past)
    Render.objects.update(completed_at=F("completed_at") - past)
    Deletion.objects.update(requested_at=F("requested_at") - past, sweep_after=F("sweep_after") - past)


@pytest.mark.parametrize("slash", ["", "/"])
def test_it_hides_the_project_for_good(alice, slash):
    project = create(alice)

    response = alice.delete(f"{PROJECTS}/{project['id']}{slash}")

    assert (response.status_code, response.json()) == (200, {"detail": "Project deleted successfully"})
    assert alice.get(project["urls"]["self"]).status_code == 404
    assert alice.get(project["urls"]["status"]).status_code == 404
    assert alice.post(project["urls"]["cancel"]).status_code == 404
    assert alice.delete(project["urls"]["self"]).status_code == 404
    assert Project.objects.get().deleted_at is not None


def test_it_cancels_what_is_queued(alice):
    alice.delete(create(alice)["urls"]["self"])

    assert Render.objects.get().state == State.CANCELED


def test_the_media_are_deleted_and_a_receipt_stays(alice, put):
    project = finished_project(alice)
    keys = put(project, "a1/film.mp4", "a1/poster.jpg", "a2/never-recorded.ts")
    later(3600)

    alice.delete(project["urls"]["self"])
    delete_media()

    assert there(keys) == []
    receipt = Deletion.objects.get()
    assert (receipt.project.pk, receipt.tenant, receipt.api_key) == (UUID(project["id"]), alice.tenant, alice.key)
    assert receipt.completed_at is not None
    assert receipt.files == 6
    assert UsageEntry.objects.get().billed_seconds == 2
    assert invariants.check() == []


def test_what_a_running_render_leaves_is_deleted_when_it_has_ended_and_once_more(alice, put):
    """Its worker may just be storing something when it is told to stop."""
    project = create(alice)
    claimed = claim()
    progress.prepared(claimed, sources=NO_SOURCES, plan={}, num_frames=25, segments_total=2)
    [film, piece] = put(project, "a1/segment.ts")
    alice.delete(project["urls"]["self"])
    delete_media()
    assert there([film, piece]) == [film, piece]
    assert latest_render(project["id"]).cancel_requested_at is not None

    OrmQ.objects.all().delete()
    transitions.cancel(claimed)
    assert OrmQ.objects.count() == 1
    OrmQ.objects.all().delete()
    delete_media()
    assert there([film, piece]) == []
    assert Deletion.objects.get().completed_at is None

    [film, late] = put(project, "a1/late.ts")
    delete_media()
    assert there([late]) == [late]
    later(settings.RENDER_HANG_SECONDS + settings.RENDER_LEASE_SECONDS)
    project_deletion.enqueue_if_due()
    assert OrmQ.objects.count() == 1
    delete_media()
    assert there([film, late]) == []
    assert Deletion.objects.get().completed_at is not None


def test_what_the_customer_has_sent_is_forgotten(alice, receiver_of_all):
    secrets = {"title": "secret-title", "description": "secret-text", "metadata": {"of": "secret-metadata"}}
    secrets |= {
        "image_url": "https://example.com/secret.png",
        "script": "The secret script.",
        "prompt": "secret-prompt",
        "secret-field": 1,
        "user_id": "the user",
    }
    key = {"Idempotency-Key": "once"}
    answer = alice.post(PROJECTS, {**secrets}, format="json", headers=key)
    assert answer.status_code == 201, answer.content
    transitions.fail(claim(), ServiceError("no_face", "No face at secret.example."), trace="secret-trace")
    while outbox.fan_out():
        pass
    assert count_of_secrets() > 5

    alice.delete(answer.json()["urls"]["self"])
    delete_media()

    assert count_of_secrets() == 0
    assert not Project.objects.filter(user_id="the user").exists()
    assert UsageEntry.objects.get().user_label == "the user"  # It is charged for.


@pytest.fixture
def receiver_of_all(alice):
    """An endpoint that is told of everything."""
    WebhookEndpoint.objects.create(
        tenant=alice.tenant, url="https://example.com/", secret="whsec_", events=list(EventType)
    )


def count_of_secrets():
    """Rows of any table in which the word stands."""
    models = [model for model in apps.get_models() if model._meta.managed]
    names = [model._meta.db_table for model in models]
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(f"SELECT count(*) FROM {name} t WHERE t::text ~ 'secret[-.]'" for name in names)
        )
        return sum(number for (number,) in cursor.fetchall())


def test_what_was_spoken_goes_with_its_last_project(alice, django_capture_on_commit_callbacks):
    key = f"{alice.tenant.pk}/speech/spoken.wav"
    media.storage_of(key).save(key, ContentFile(b"voice"))
    facts = {"content_type": "audio/wav", "num_bytes": 5, "state": "ready", "kind": "audio", "origin": "speech"}
    asset = Asset.objects.create(tenant=alice.tenant, filename="spoken", key=key, **facts)
    projects = [finished_project(alice, audio_url=f"asset:{asset.pk}") for _ in range(2)]
    gone = []

    for project in projects:
        alice.delete(project["urls"]["self"])
        with django_capture_on_commit_callbacks(execute=True):
            delete_media()
        gone.append(there([key]) == [])

    assert gone == [False, True]


def test_a_storage_that_is_away_delays_it(alice, put, monkeypatch):
    project = finished_project(alice)
    keys = put(project, "a1/film.mp4")
    alice.delete(project["urls"]["self"])

    def refuse(self, name):
        raise StorageFailure(Reason.UNAVAILABLE, "away")

    with monkeypatch.context() as away:
        away.setattr(SignedFileStorage, "delete_folder", refuse)
        delete_media()
    assert there(keys) == keys
    delete_media()
    assert there(keys) == keys

    later(project_deletion.AGAIN_SECONDS)
    delete_media()
    assert there(keys) == []


def test_without_a_script_no_speech_is_looked_for(alice, put, monkeypatch):
    """Each look is three requests of Cloudinary's admin API, of which an account has some hundreds an hour."""
    project = finished_project(alice)
    put(project, "a1/film.mp4")
    alice.delete(project["urls"]["self"])
    folders = []
    monkeypatch.setattr(SignedFileStorage, "delete_folder", lambda self, name: folders.append(name) or 0)

    delete_media()

    assert folders and not [name for name in folders if "/speech/" in name]


def test_a_project_with_a_film_keeps_it_when_a_neighbour_is_deleted(alice, put):
    keys = put(finished_project(alice), "a1/film.mp4")

    alice.delete(create(alice)["urls"]["self"])
    delete_media()

    assert there(keys) == keys


def test_deleted_again_has_one_receipt(alice):
    project = create(alice)
    alice.delete(project["urls"]["self"])

    project_deletion.delete_project(Project.objects.get(), alice.key)

    assert Deletion.objects.count() == 1


def test_it_is_refused_to_strangers_and_readers(alice, charlie, anonymous):
    url = create(alice)["urls"]["self"]
    alice.key.scopes = ["projects:read"]
    alice.key.save(update_fields=["scopes"])

    assert charlie.delete(url).status_code == 404
    assert anonymous.delete(url).status_code == 401
    assert alice.delete(url).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_creating_finalizing_canceling_and_deleting_at_once_never_block_each_other(alice):
    """Locks are taken in one order everywhere, so Postgres has no deadlock to break with an error."""
    projects = [finished_project(alice) for _ in range(4)]
    answers = []

    def act(number):
        try:
            urls = projects[number % 4]["urls"]
            for _ in range(2):
                answers.append(alice.post(PROJECTS, NEW, format="json").status_code)
                answers.append(alice.post(urls["finalize"]).status_code)
                answers.append(alice.post(urls["cancel"]).status_code)
            answers.append(alice.delete(urls["self"]).status_code)
        finally:
            connection.close()

    def work(number):
        try:
            for _ in range(20):
                if claimed := transitions.claim_next("cpu", node):
                    try:
                        finish(claimed)
                    except CancelRequested:
                        transitions.cancel(claimed)
        finally:
            connection.close()

    node = nodes.heartbeat("cpu")
    with ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(act, number) for number in range(8)] + [pool.submit(work, number) for number in range(2)]

    for future in futures:
        future.result()
    assert set(answers) <= {200, 201, 202, 404, 409}
    assert not Render.objects.filter(take__project__deleted_at__isnull=False, state=State.QUEUED).exists()


def test_who_spoke_and_what_was_behind_them_is_forgotten(alice) -> None:
    background, speakers = f"asset:{UUID(int=1)}", [{"audio": 1, "face": {"index": 0}}]
    project = create(alice, speakers=speakers)
    Project.objects.update(parameters={"seed": 1, "background": background})
    Render.objects.update(parameters={"seed": 1, "background": f"{media.STORED}0/{alice.tenant.pk}/x.png"})

    alice.delete(project["urls"]["self"])
    delete_media()

    kept, render = Project.objects.get(), Render.objects.get()
    assert (kept.speakers, kept.parameters) == ([], {"seed": 1})
    assert (render.speakers, render.frame, render.parameters) == ([], None, {"seed": 1, "background": "keep"})
