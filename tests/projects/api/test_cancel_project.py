import pytest

from accounts.models import UsageEntry
from render.lifecycle import transitions
from tests.projects.steps import PROJECTS, claim, create, finished_project, latest_render


@pytest.mark.parametrize("slash", ["", "/"])
def test_it_cancels_what_is_queued_at_once(alice, slash):
    project = create(alice)

    response = alice.post(f"{PROJECTS}/{project['id']}/cancel{slash}")

    shown = response.json()
    assert response.status_code == 200
    assert (shown["status"], shown["state"], shown["error_code"]) == ("failed", "canceled", "canceled")
    assert shown["error"]["code"] == "canceled"
    assert shown["error_message"] == "The render was canceled."
    assert UsageEntry.objects.get().billed_seconds == 0


def test_it_asks_the_worker_while_it_runs(alice):
    project = create(alice)
    claimed = claim()

    response = alice.post(project["urls"]["cancel"])

    assert (response.status_code, response.json()["state"]) == (202, "running")
    assert latest_render(project["id"]).cancel_requested_at is not None
    transitions.cancel(claimed)
    assert alice.get(project["urls"]["self"]).json()["state"] == "canceled"


def test_it_answers_the_same_the_second_time(alice):
    project = create(alice)
    alice.post(project["urls"]["cancel"])

    assert alice.post(project["urls"]["cancel"]).status_code == 200


def test_it_comes_too_late_for_what_is_finished(alice):
    project = finished_project(alice)

    response = alice.post(project["urls"]["cancel"])

    assert (response.status_code, response.json()["code"]) == (409, "invalid_state")


def test_it_is_refused_to_strangers_and_readers(alice, charlie, anonymous):
    url = create(alice)["urls"]["cancel"]
    alice.key.scopes = ["projects:read"]
    alice.key.save(update_fields=["scopes"])

    assert charlie.post(url).status_code == 404
    assert anonymous.post(url).status_code == 401
    assert alice.post(url).status_code == 403


def test_it_is_a_post(alice):
    response = alice.get(create(alice)["urls"]["cancel"])

    assert (response.status_code, response.json()["code"], response["Allow"]) == (
        405, "method_not_allowed", "POST, OPTIONS",
    )  # fmt: skip
