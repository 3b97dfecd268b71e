from uuid import uuid4

import pytest

from accounts.errors import ServiceError
from render.lifecycle import progress, transitions
from render.models import Phase, Render
from render.storage import media
from tests.projects.steps import PROJECTS, claim, create, finish, finished_project, latest_render


@pytest.fixture(params=["", "/"])
def slash(request):
    return request.param


def test_it_shows_the_project_to_the_whole_tenant(alice, bob, slash):
    project = create(alice)

    response = bob.get(f"{PROJECTS}/{project['id']}{slash}")

    assert response.status_code == 200
    assert response.json() == project


def test_it_shows_the_film_once_it_is_finished(alice):
    project = finished_project(alice)

    shown = alice.get(project["urls"]["self"]).json()

    assert (shown["status"], shown["state"], shown["progress"], shown["phase"]) == ("finished", "finished", 100, None)
    assert shown["video_url"] == "http://testserver" + media.link("renders/film.mp4")
    assert shown["poster_url"] == "http://testserver" + media.link("renders/poster.jpg")
    assert shown["thumbnail_url"] == shown["poster_url"]  # Files have no smaller one.
    assert (shown["duration_seconds"], shown["segment"], shown["segments_total"]) == (2.0, 1, 1)
    assert shown["poll_after_seconds"] is shown["queue_position"] is shown["eta_seconds"] is None
    assert shown["updated_at"] > project["updated_at"]


def test_its_links_begin_with_the_public_address(alice, settings):
    settings.PUBLIC_URL = "https://avatars.example"
    project = finished_project(alice)

    shown = alice.get(f"{PROJECTS}/{project['id']}").json()

    assert shown["video_url"] == "https://avatars.example" + media.link("renders/film.mp4")
    assert shown["urls"]["status"] == f"https://avatars.example/api/v1/projects/{project['id']}/status"


def test_it_shows_why_it_failed(alice):
    project = create(alice)
    transitions.fail(claim(), ServiceError("audio_too_long", "The voice is too long.", param="audio_url"))

    shown = alice.get(project["urls"]["self"]).json()

    assert (shown["status"], shown["state"], shown["video_url"]) == ("failed", "failed", None)
    assert shown["error_message"] == shown["error"]["detail"] == "The voice is too long."
    assert (shown["error_code"], shown["error"]["param"], shown["error"]["billed"]) == (
        "audio_too_long", "audio_url", False,
    )  # fmt: skip


@pytest.mark.parametrize(("retryable", "told"), [(False, False), (True, True), (None, True)])
def test_what_may_pass_is_told_by_the_error_or_by_its_code(alice, retryable, told):
    project = create(alice)
    failed = ServiceError("download_failed", "The server answered.", param="image_url", retryable=retryable)
    transitions.fail(claim(), failed)

    assert alice.get(project["urls"]["status"]).json()["error"]["retryable"] is told


def test_it_survives_an_error_code_that_is_no_longer_listed(alice):
    project = create(alice)
    transitions.fail(claim(), ServiceError("audio_too_long", "Too long."))
    Render.objects.update(error_code="of_long_ago")

    assert alice.get(project["urls"]["self"]).json()["error_code"] == "internal"


def test_its_etag_spares_the_body(alice):
    url = create(alice)["urls"]["self"]
    first = alice.get(url)

    assert alice.get(url, headers={"If-None-Match": first["ETag"]}).status_code == 304


def test_its_status_is_small_and_tells_when_to_ask_again(alice, slash):
    project = create(alice)

    status = alice.get(f"{PROJECTS}/{project['id']}/status{slash}").json()

    assert status.keys() == {
        "id", "status", "progress", "video_url", "error_message", "state", "phase", "queue_position", "waiting_reason",
        "eta_seconds", "segment", "segments_total", "error", "error_code", "poll_after_seconds", "preview_url",
    }  # fmt: skip
    assert (status["status"], status["queue_position"], status["waiting_reason"]) == ("queued", 1, "next")
    assert status["poll_after_seconds"] > 0


def test_its_status_follows_the_render(alice):
    project = create(alice)
    claimed = claim()
    progress.prepared(claimed, sources={}, plan={}, num_frames=50, segments_total=2)
    progress.enter(claimed, Phase.RENDERING, progress=50)

    status = alice.get(project["urls"]["status"])

    assert (status.json()["status"], status.json()["state"], status.json()["phase"]) == (
        "processing", "running", "rendering",
    )  # fmt: skip
    assert (status.json()["segment"], status.json()["segments_total"], status.json()["progress"]) == (0, 2, 50)
    finish_rest = {"If-None-Match": status["ETag"]}
    assert alice.get(project["urls"]["status"], headers=finish_rest).status_code == 304
    progress.enter(claimed, Phase.RENDERING, progress=60)
    assert alice.get(project["urls"]["status"], headers=finish_rest).status_code == 200


@pytest.mark.parametrize("end", ["", "/status"])
def test_it_is_not_there_for_a_stranger(alice, charlie, anonymous, slash, end):
    url = f"{PROJECTS}/{create(alice)['id']}{end}{slash}"

    response = charlie.get(url)

    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert anonymous.get(url).status_code == 401


@pytest.mark.parametrize("name", [uuid4(), "nonsense", "1", "%00", "..", "%2e%2e", "null", "é"])
def test_it_is_not_there_under_another_name(alice, name):
    response = alice.get(f"{PROJECTS}/{name}")

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


def test_it_takes_an_id_in_capitals(alice):
    assert alice.get(f"{PROJECTS}/{create(alice)['id'].upper()}").status_code == 200


def test_it_shows_each_take(alice):
    project = finished_project(alice)
    alice.post(project["urls"]["finalize"])
    finish(claim())  # what the queue of the preparing nodes has

    takes = alice.get(project["urls"]["self"]).json()["takes"]

    assert [(take["number"], take["kind"], take["engine"]) for take in takes] == [
        (1, "draft", "draft"),
        (2, "final", "stateful"),
    ]
    assert all(take["video_url"] for take in takes)
    assert latest_render(project["id"]).engine == "stateful"


def test_its_warnings_are_those_of_the_request_and_of_the_files(alice):
    project = create(alice, colour="red")
    claimed = claim()
    damaged = {"param": "audio_url", "code": "damaged", "detail": "0.4 s of the voice are missing."}
    progress.prepared(claimed, sources={}, plan={}, num_frames=50, segments_total=2, warnings=[damaged])

    shown = alice.get(f"{PROJECTS}/{project['id']}").json()["warnings"]

    assert [warning["code"] for warning in shown] == ["unknown", "damaged"]
    assert shown[1] == damaged
