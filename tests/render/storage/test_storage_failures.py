"""Cloudinary answers badly, over its own protocol: how each render ends, and that nothing is rendered twice.

Which answer has which reason, and which is tried again at once: test_backends.py.
"""

from collections.abc import Callable, Iterator
from functools import partial

import cloudinary.uploader
import pytest
from django.utils import timezone

from accounts.models import UsageEntry
from projects import services
from projects.models import Project, Take
from projects.retention import project_deletion
from render.models import Phase, Render, State
from render.pipeline import runner
from tests.engines import InstantEngine
from tests.servers.cloudinary import Cloudinary, running_cloudinary

pytestmark = pytest.mark.django_db

FILM, PIECE = "/video-", "/segment-"


@pytest.fixture
def cloud(settings) -> Iterator[Cloudinary]:
    settings.STORAGE_BACKOFF_SECONDS = 0.001
    settings.STORAGE_ATTEMPTS = 2
    settings.STORAGE_PATIENCE_SECONDS = 0.1
    settings.STORAGE_RETRY_DELAYS = [0]
    with running_cloudinary() as cloud:
        settings.STORAGES = {**settings.STORAGES, **cloud.storages}
        yield cloud


@pytest.fixture
def enqueue(enqueue, site) -> Callable[..., Render]:
    """Of a voice that makes two segments."""
    base_url, _ = site
    return partial(enqueue, audio_url=f"{base_url}/other-voice.wav")


@pytest.fixture
def rendered(monkeypatch) -> list[int]:
    """The index of each segment that the engine has made, in the order in which it did."""
    made: list[int] = []
    original = InstantEngine.segments

    def count(self, *arguments):
        for segment in original(self, *arguments):
            made.append(segment.index)
            yield segment

    monkeypatch.setattr(InstantEngine, "segments", count)
    return made


def work(claim) -> int:
    """Do what is to be done, as a worker that never rests; return how many attempts that took."""
    attempts = 0
    while (claimed := claim()) is not None:
        runner.run(claimed)
        attempts += 1
        Render.objects.update(not_before=timezone.now())
        assert attempts < 20
    return attempts


@pytest.mark.parametrize(
    ("faults", "state", "reason", "attempts"),
    [
        # What may pass is tried again, at once and later; what does not is told at once.
        (["slow"], State.FINISHED, "", 1),
        ([429, 420, 500], State.FINISHED, "", 2),
        ([401], State.FINISHED, "", 2),
        ([401] * 2, State.FAILED, "wrong_credentials", 2),
        ([403] * 2, State.FAILED, "account_full", 2),
        ([429] * 4, State.FAILED, "rate_limited", 2),
        (["reset"] * 4, State.FAILED, "unavailable", 2),
        (["too large"], State.FAILED, "file_too_large", 1),
    ],
)
def test_a_film_that_cannot_be_uploaded(
    cloud, enqueue, claim, rendered, monkeypatch, faults, state, reason, attempts
) -> None:
    upload = cloudinary.uploader.upload

    def upload_with_little_patience(file, *, public_id: str, timeout: float, **options) -> object:
        """While a fault waits for the film; all else may take its time on a slow machine."""
        patience = 0.5 if cloud.faults and FILM in public_id else timeout
        return upload(file, public_id=public_id, timeout=patience, **options)

    if faults == ["slow"]:
        monkeypatch.setattr(cloudinary.uploader, "upload", upload_with_little_patience)
    cloud.only, cloud.faults = FILM, list(faults)
    render = enqueue()

    assert work(claim) == attempts

    render.refresh_from_db()
    assert (render.state, render.error_code) == (state, "upload_failed" if reason else "")
    assert reason in render.error_message
    assert "127.0.0.1" not in render.error_message
    assert (render.failures, render.crashes) == (0, 0)
    assert rendered == [0, 1]
    assert cloud.faults == []
    entry = UsageEntry.objects.get(render_id=render.pk)
    assert entry.billed_seconds == (2 if state == State.FINISHED else 0)


def test_while_it_waits_it_says_where_it_is(cloud, enqueue, claim, settings) -> None:
    settings.STORAGE_RETRY_DELAYS = [600]
    cloud.only, cloud.faults = FILM, [401]
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.phase, render.storage_failures) == (State.QUEUED, Phase.UPLOADING, 1)
    assert (render.not_before - timezone.now()).total_seconds() == pytest.approx(600, abs=5)
    assert "wrong_credentials" in render.error_trace
    assert claim() is None


def test_a_segment_is_held_until_the_storage_takes_it(cloud, enqueue, claim, rendered, settings) -> None:
    settings.STORAGE_PATIENCE_SECONDS = 1.0
    cloud.only, cloud.faults = PIECE, [401, 500, 429, "reset"]
    render = enqueue()

    assert work(claim) == 1

    render.refresh_from_db()
    assert render.state == State.FINISHED
    assert rendered == [0, 1]


def test_a_retry_after_a_failed_upload_only_uploads(cloud, enqueue, claim, rendered, acme) -> None:
    cloud.only, cloud.faults = FILM, [401] * 2
    render = enqueue()
    project = Project.objects.create(tenant=acme, title="Test", image_url="x", audio_url="y")
    Take.objects.create(project=project, number=1, kind=Take.Kind.DRAFT, render=render)
    work(claim)

    take = services.retry(project, None)
    work(claim)

    again, render = Render.objects.get(pk=take.render_id), Render.objects.get(pk=render.pk)
    assert (render.state, again.state) == (State.FAILED, State.FINISHED)
    assert (again.num_frames, again.sources) == (render.num_frames, render.sources)
    assert rendered == [0, 1]
    assert (render.segments.count(), again.segments.count()) == (0, 2)
    billed = {entry.render_id: entry.billed_seconds for entry in UsageEntry.objects.all()}
    assert billed == {render.pk: 0, again.pk: 2}


def test_deleting_a_film_takes_it_off_cloudinary_s_caches(cloud, enqueue, claim, acme, alice) -> None:
    render = enqueue()
    project = Project.objects.create(tenant=acme, title="Test", image_url="x", audio_url="y")
    Take.objects.create(project=project, number=1, kind=Take.Kind.DRAFT, render=render)
    work(claim)
    assert {resource for resource, _ in cloud.objects} == {"video", "image", "raw"}

    project_deletion.delete_project(project, alice.key)
    while project_deletion.sweep_next():
        pass

    assert cloud.objects == {}
    deletions_asked = [request for request in cloud.requests if request["action"] == "delete"]
    assert len(deletions_asked) == 6
    assert all(request["invalidate"] for request in deletions_asked)
