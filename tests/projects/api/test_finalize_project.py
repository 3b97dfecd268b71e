from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from projects.models import Take
from tests.projects.steps import PROJECTS, claim, create, finish, finished_project, latest_render


@pytest.mark.parametrize("slash", ["", "/"])
def test_it_renders_the_draft_again_on_the_final_engine(alice, slash):
    project = finished_project(
        alice,
        audio_url_2="https://example.com/b.mp3",
        audio_order="right_left",
        prompt="Hello",
        parameters={"preset": "quality", "sample_steps": 20},
    )
    draft = latest_render(project["id"])

    response = alice.post(f"{PROJECTS}/{project['id']}/finalize{slash}")

    final = latest_render(project["id"])
    assert (response.status_code, response.json()["status"], response.json()["engine"]) == (202, "queued", "stateful")
    assert response.json()["call_id"] == str(final.pk) != project["call_id"]
    assert response.json()["video_url"] is None
    assert final.parameters == draft.parameters
    assert (final.image_url, final.audio_url, final.audio_url_2, final.audio_order, final.prompt) == (
        draft.image_url, draft.audio_url, draft.audio_url_2, draft.audio_order, draft.prompt,
    )  # fmt: skip


def test_it_needs_a_finished_draft(alice):
    response = alice.post(create(alice)["urls"]["finalize"])

    assert (response.status_code, response.json()["code"]) == (409, "invalid_state")


def test_it_happens_once(alice):
    project = finished_project(alice)

    assert alice.post(project["urls"]["finalize"]).status_code == 202
    assert alice.post(project["urls"]["finalize"]).json()["code"] == "invalid_state"
    running = claim()
    assert alice.post(project["urls"]["finalize"]).json()["code"] == "invalid_state"
    finish(running)
    assert alice.post(project["urls"]["finalize"]).json()["code"] == "invalid_state"


def test_it_may_be_tried_again_after_a_cancel(alice):
    project = finished_project(alice)
    alice.post(project["urls"]["finalize"])
    alice.post(project["urls"]["cancel"])

    assert alice.post(project["urls"]["finalize"]).status_code == 202
    assert [take.kind for take in Take.objects.filter(project=project["id"])] == ["draft", "final", "final"]


def test_it_does_not_take_a_final_for_a_draft(alice):
    project = create(alice, parameters={"engine": "stateful"})
    finish(claim())

    assert alice.post(project["urls"]["finalize"]).json()["code"] == "invalid_state"


def test_it_needs_the_final_engine(alice, settings):
    settings.FINAL_ENGINE = "infinitetalk"
    project = finished_project(alice)

    response = alice.post(project["urls"]["finalize"])

    assert (response.status_code, response.json()["code"]) == (422, "engine_unavailable")


def test_it_is_refused_to_strangers(alice, charlie, anonymous):
    url = finished_project(alice)["urls"]["finalize"]

    assert charlie.post(url).status_code == 404
    assert anonymous.post(url).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_it_happens_once_when_asked_many_times_at_once(alice):
    project = finished_project(alice)

    def ask(_):
        try:
            return alice.post(project["urls"]["finalize"]).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(ask, range(6)))

    assert sorted(codes) == [202, 409, 409, 409, 409, 409]
