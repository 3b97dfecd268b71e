"""A retry, after whatever error, goes on from what was prepared and recorded; and what makes it begin anew."""

from collections.abc import Iterator

import pytest
from django.core.files.storage import default_storage
from django.db.models.functions import Now

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from creatorify.operations import invariants
from projects.models import Project
from projects.retention import policy as retention
from render.fence import Claim
from render.lifecycle import progress, retries, transitions
from render.models import Phase, Render, State
from render.pipeline import runner
from tests.engines import StatefulEngine
from tests.projects.steps import NO_SOURCES, claim, create, latest_render

pytestmark = pytest.mark.django_db

PLAN = {"segments": [{"start": start, "stop": start + 25} for start in range(0, 100, 25)]}
ENDS = ["render_timeout", "worker_lost", "internal", "gpu_out_of_memory", "upload_failed", "speech_failed"]


def record(claimed: Claim, index: int) -> None:
    progress.record_segment(
        claimed, index=index, key=f"k{index}", num_bytes=1, frames=25, state_key="", render_seconds=1.0, progress=50
    )


def prepared(alice, segments: int = 2) -> tuple[dict, Claim]:
    project = create(alice)
    claimed = claim()
    progress.prepared(claimed, sources=NO_SOURCES, plan=PLAN, num_frames=100, segments_total=4)
    for index in range(segments):
        record(claimed, index)
    return project, claimed


def retried(alice, project: dict) -> Render:
    response = alice.post(project["urls"]["retry"])
    assert response.status_code == 202, response.content
    return latest_render(project["id"])


def own_segments(render: Render) -> list[tuple[int, int]]:
    return list(render.segments.values_list("index", "attempt"))


@pytest.mark.parametrize("code", ENDS)
def test_it_goes_on_after_any_error(alice, code) -> None:
    project, claimed = prepared(alice)
    transitions.fail(claimed, ServiceError(code, "It failed."))

    render = retried(alice, project)

    assert (render.sources, render.plan, render.num_frames, render.segments_total) == (NO_SOURCES, PLAN, 100, 4)
    assert own_segments(render) == [(0, 0), (1, 0)]
    assert (render.state, render.phase, render.progress) == (State.QUEUED, Phase.WAITING, 47)
    assert UsageEntry.objects.get(render_id=render.pk).reserved_seconds == 4  # Of all its film, once.
    shown = alice.get(project["urls"]["status"]).json()
    assert (shown["segment"], shown["segments_total"], shown["progress"]) == (2, 4, 47)


def test_it_goes_on_after_a_cancel(alice) -> None:
    project, claimed = prepared(alice)
    alice.post(project["urls"]["cancel"])
    transitions.cancel(claimed)

    assert own_segments(retried(alice, project)) == [(0, 0), (1, 0)]
    assert invariants.check() == []


def test_where_all_is_rendered_only_the_rest_is_left_to_do(alice) -> None:
    project, claimed = prepared(alice, segments=4)
    transitions.fail(claimed, ServiceError("render_timeout", "It hung in the upload."))

    render = retried(alice, project)

    assert (render.phase, render.progress) == (Phase.ASSEMBLING, progress.RENDERED)
    again = claim()
    transitions.finish(again, video_key="v", poster_key="p", duration_seconds=4)
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 4
    assert invariants.check() == []


def test_what_was_only_prepared_is_not_prepared_again(alice) -> None:
    project, claimed = prepared(alice, segments=0)
    transitions.fail(claimed, ServiceError("gpu_out_of_memory", "Too little."))

    render = retried(alice, project)

    assert (render.sources, render.phase, render.progress) == (NO_SOURCES, Phase.WAITING, progress.PREPARED)


def test_it_goes_on_time_and_again(alice) -> None:
    project, claimed = prepared(alice)
    for index in (2, 3):
        transitions.fail(claimed, ServiceError("internal", "Unknown."))
        retried(alice, project)
        claimed = claim()
        record(claimed, index)
    transitions.finish(claimed, video_key="v", poster_key="p", duration_seconds=4)

    render = latest_render(project["id"])
    assert own_segments(render) == [(0, 0), (1, 0), (2, 0), (3, 1)]
    assert [entry.billed_seconds for entry in UsageEntry.objects.order_by("created_at")] == [0, 0, 4]
    assert [entry.gpu_seconds for entry in UsageEntry.objects.order_by("created_at")] == [2, 1, 1]
    assert invariants.check() == []


def begins_anew(render: Render) -> bool:
    kept = (render.sources, render.plan, render.num_frames, render.segments_total)
    return kept == (None,) * 4 and render.phase == Phase.PREPARE and not render.segments.exists()


def test_it_begins_anew_where_a_file_of_the_customers_was_at_fault(alice) -> None:
    """As the model server may find it: there may be another file at its address by now."""
    project, claimed = prepared(alice)
    transitions.fail(claimed, ServiceError("image_invalid", "Not readable.", param="image_url"))

    assert begins_anew(retried(alice, project))


def test_it_begins_anew_where_files_were_lost(alice) -> None:
    project, claimed = prepared(alice)
    Render.objects.update(failures=2)
    retries.retry_later(claimed, ServiceError("work_lost", "Lost."), trace="", anew=True)
    assert latest_render(project["id"]).state == State.FAILED

    assert begins_anew(retried(alice, project))
    assert invariants.check() == []


def test_it_begins_anew_where_the_files_were_deleted_after_their_time(alice) -> None:
    project, claimed = prepared(alice)
    transitions.fail(claimed, ServiceError("render_timeout", "It hung."))
    render = latest_render(project["id"])
    render.segments.update(created_at=Now() - retention.WORK)
    Render.objects.update(completed_at=Now() - 2 * retention.WORK)
    retention.run()

    assert begins_anew(retried(alice, project))


def test_an_unknown_error_that_comes_again_at_once_makes_it_begin_anew(alice) -> None:
    """What is stored may be its cause, as a segment that an older version has encoded otherwise."""
    project, claimed = prepared(alice)
    for _ in range(2):
        transitions.fail(claimed, ServiceError("internal", "Unknown."))
        render = retried(alice, project)
        claimed = claim()

    assert begins_anew(render)


def test_an_unknown_error_before_the_first_segment_does_so_at_once(alice) -> None:
    project, claimed = prepared(alice, segments=0)
    transitions.fail(claimed, ServiceError("internal", "Unknown."))

    assert begins_anew(retried(alice, project))


@pytest.mark.parametrize("code", ["upload_failed", "render_timeout", "worker_lost"])
def test_an_error_that_is_known_to_be_elsewhere_never_does(alice, code) -> None:
    project, claimed = prepared(alice)
    for _ in range(3):
        transitions.fail(claimed, ServiceError(code, "Elsewhere."))
        render = retried(alice, project)
        claimed = claim()

    assert own_segments(render) == [(0, 0), (1, 0)]


def test_a_final_goes_on_from_no_draft(alice) -> None:
    project, claimed = prepared(alice, segments=4)
    transitions.finish(claimed, video_key="v", poster_key="p", duration_seconds=4)

    response = alice.post(project["urls"]["finalize"])

    assert response.status_code == 202, response.content
    assert begins_anew(latest_render(project["id"]))


@pytest.fixture
def rendered(monkeypatch) -> list[int]:
    made: list[int] = []
    real = StatefulEngine.segments

    def count(self, inputs, parameters, plan, resume, hold) -> Iterator:
        for segment in real(self, inputs, parameters, plan, resume, hold):
            if len(made) == 2 and resume is None:
                raise ServiceError("gpu_out_of_memory", "Too little.")
            made.append(segment.index)
            yield segment

    monkeypatch.setattr(StatefulEngine, "segments", count)
    return made


def work() -> None:
    for queue in ("cpu", "gpu"):
        runner.run(claim(queue))


def test_the_film_is_the_same_to_the_byte(alice, site, settings, rendered) -> None:
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    base_url, _ = site
    sources = {"image_url": f"{base_url}/picture.png", "audio_url": f"{base_url}/voice.wav"}
    fields = {**sources, "parameters": {"engine": "stateful", "seed": 5}}
    project = create(alice, **fields)
    work()
    assert (latest_render(project["id"]).error_code, rendered) == ("gpu_out_of_memory", [0, 1])
    Project.objects.update(image_url="https://example.com/gone", audio_url="https://example.com/gone")

    retried(alice, project)
    work()
    broken = latest_render(project["id"])
    assert (broken.state, rendered) == (State.FINISHED, [0, 1, 2, 3])
    unbroken = create(alice, **fields)
    rendered[:] = [0] * 9
    work()

    films = [film_of(broken), film_of(latest_render(unbroken["id"]))]
    assert films[0] == films[1]
    assert invariants.check() == []


def film_of(render: Render) -> bytes:
    with default_storage.open(render.video_key) as file:
        content: bytes = file.read()
    return content
