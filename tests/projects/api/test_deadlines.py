"""`start_deadline_seconds` and `total_deadline_seconds` of `POST /projects`, as a customer sees them."""

import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now

from accounts.models import UsageEntry
from creatorify.operations import invariants
from projects.models import Project
from projects.models.webhooks import WebhookEvent
from render.estimates import queue_snapshot
from render.lifecycle import progress, reaper, transitions
from render.models import Phase, Render, State
from tests.projects.steps import NEW, NO_SOURCES, PROJECTS, TWO_SEGMENTS, claim, create, finished_project, latest_render

pytestmark = pytest.mark.django_db

BOTH = {"start_deadline_seconds": 60, "total_deadline_seconds": 600}
DAYS_30 = 2_592_000


def seconds_given(render: Render) -> tuple[int | None, int | None]:
    """Of its deadlines, from its creation."""
    times = render.start_deadline_at, render.total_deadline_at
    given = [time and (time - UsageEntry.objects.get(render_id=render.pk).created_at).total_seconds() for time in times]
    return given[0], given[1]


def miss(project: dict, name: str = "total_deadline_at") -> None:
    late = Now() - timedelta(milliseconds=1)
    Render.objects.filter(pk=latest_render(project["id"]).pk).update(**{name: late})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (BOTH, (60, 600)),
        ({"start_deadline_seconds": 1}, (1, None)),
        ({"start_deadline_seconds": None, "total_deadline_seconds": DAYS_30}, (None, DAYS_30)),
        ({"total_deadline_seconds": "60"}, (None, 60)),
        ({"start_deadline_seconds": None, "total_deadline_seconds": None}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_they_are_echoed_and_kept(alice, given, shown) -> None:
    project = create(alice, **given)

    for answer in (project, alice.get(project["urls"]["self"]).json()):
        assert (answer["start_deadline_seconds"], answer["total_deadline_seconds"]) == shown
    assert seconds_given(latest_render(project["id"])) == shown
    assert project["parameters"].keys() == {"seed"} and project["warnings"] == []


@pytest.mark.parametrize("field", BOTH)
@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (0, "min_value", "greater than or equal to 1"),
        (-5, "min_value", "greater than or equal to 1"),
        (DAYS_30 + 1, "max_value", f"less than or equal to {DAYS_30}"),
        (1.5, "invalid", "integer"),
        ("soon", "invalid", "integer"),
        ("", "invalid", "integer"),
        (True, "invalid", "integer"),
        ([60], "invalid", "integer"),
    ],
)
def test_it_says_what_is_wrong(alice, field, value, code, words) -> None:
    answer = alice.post(PROJECTS, {**NEW, field: value}, format="json")

    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["param"], error["code"]) == (field, code)
    assert words in error["detail"]
    assert not Project.objects.exists()


def test_a_repeated_request_with_another_deadline_is_another_request(alice) -> None:
    key = {"Idempotency-Key": "once"}
    first = alice.post(PROJECTS, {**NEW, **BOTH}, format="json", headers=key)

    assert alice.post(PROJECTS, {**NEW, **BOTH}, format="json", headers=key).json() == first.json()
    other = alice.post(PROJECTS, {**NEW, **BOTH, "total_deadline_seconds": 601}, format="json", headers=key)
    assert other.json()["code"] == "idempotency_key_reused"


def test_who_misses_one_fails_and_its_webhook_says_so_once(alice, endpoint, receiver) -> None:
    project = create(alice, **BOTH)
    miss(project)
    reaper.run()
    reaper.run()

    shown = alice.get(project["urls"]["status"]).json()
    assert (shown["status"], shown["state"], shown["error_code"]) == ("failed", "failed", "deadline_exceeded")
    error = shown["error"]
    assert (error["status"], error["title"]) == (504, "Deadline exceeded")
    assert (error["retryable"], error["billed"], error["param"]) == (True, False, None)
    assert "total_deadline_seconds" in error["detail"] and "it was queued, phase prepare" in error["detail"]
    assert UsageEntry.objects.get().billed_seconds == 0
    types = list(WebhookEvent.objects.order_by("created_at").values_list("type", flat=True))
    assert types == ["project.queued", "project.failed"]
    assert invariants.check() == []


def test_a_retry_has_the_whole_time_again_and_goes_on_from_what_was_made(alice) -> None:
    project = create(alice, **BOTH)
    claimed = claim()
    progress.prepared(claimed, sources=NO_SOURCES, plan=TWO_SEGMENTS, num_frames=50, segments_total=2)
    progress.enter(claimed, Phase.LOADING, progress=5)
    progress.record_segment(
        claimed, index=0, key="k", num_bytes=1, frames=25, state_key="", render_seconds=1.0, progress=50
    )
    Render.objects.update(created_at=Now() - timedelta(hours=1))
    miss(project)
    assert transitions.fail_overdue(claimed)

    answer = alice.post(project["urls"]["retry"])

    render = latest_render(project["id"])
    assert (answer.status_code, render.state, render.phase) == (202, State.QUEUED, Phase.WAITING)
    assert seconds_given(render) == (60, 600)
    assert (render.begun_at, list(render.segments.values_list("index", flat=True))) == (None, [0])
    miss(project, "start_deadline_at")  # Its own engine has not begun.
    reaper.run()
    assert alice.get(project["urls"]["self"]).json()["error_code"] == "deadline_exceeded"
    assert [entry.billed_seconds for entry in UsageEntry.objects.all()] == [0, 0]


def test_a_retry_that_has_only_to_be_joined_need_not_begin(alice) -> None:
    project = create(alice, **BOTH)
    claimed = claim()
    plan = {"segments": [{"start": 0, "stop": 25}]}
    progress.prepared(claimed, sources=NO_SOURCES, plan=plan, num_frames=25, segments_total=1)
    progress.record_segment(
        claimed, index=0, key="k", num_bytes=1, frames=25, state_key="", render_seconds=1.0, progress=90
    )
    miss(project)
    transitions.fail_overdue(claimed)
    alice.post(project["urls"]["retry"])
    miss(project, "start_deadline_at")

    reaper.run()

    again = claim()
    progress.enter(again, Phase.ASSEMBLING, progress=91)
    transitions.finish(again, video_key="v", poster_key="p", duration_seconds=1.0)
    assert latest_render(project["id"]).state == State.FINISHED


def test_a_final_has_the_whole_time_again(alice) -> None:
    project = finished_project(alice, **BOTH)

    assert alice.post(project["urls"]["finalize"]).status_code == 202
    assert seconds_given(latest_render(project["id"])) == (60, 600)


@pytest.fixture
def queue(monkeypatch, settings) -> None:
    settings.ESTIMATE_SECONDS = 0
    monkeypatch.setattr(queue_snapshot, "_snapshot", None)


@pytest.mark.usefixtures("queue")
def test_a_deadline_that_will_hardly_be_kept_is_a_warning(alice) -> None:
    for _ in range(3):
        create(alice)  # 10 s of film, and 5 s of work, until others are measured.
    tight = {"start_deadline_seconds": 10, "total_deadline_seconds": 12}

    told = alice.post(f"{PROJECTS}?dry_run=true", {**NEW, **tight}, format="json").json()
    project = create(alice, **tight)
    again = alice.get(project["urls"]["self"]).json()

    assert told["eta_seconds"] == 20
    for answer in (told, project, again):
        warned = [(warning["param"], warning["code"]) for warning in answer["warnings"]]
        assert warned == [(field, "deadline_unlikely") for field in tight]
    begin, end = told["warnings"]
    assert re.fullmatch(r"By the estimate it will begin later than \d{4}-\S+Z, the deadline\.", begin["detail"])
    assert "it will be finished later than" in end["detail"]
    assert again["warnings"] == project["warnings"]  # Nor does the ETag change while nothing happens.
    assert Project.objects.get(pk=project["id"]).warnings == []  # It is not kept: later it may be otherwise.


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("deadlines", [{}, {"start_deadline_seconds": DAYS_30, "total_deadline_seconds": DAYS_30}])
def test_one_that_will_be_kept_is_none(alice, deadlines) -> None:
    create(alice)

    assert alice.post(f"{PROJECTS}?dry_run=true", {**NEW, **deadlines}, format="json").json()["warnings"] == []
    assert create(alice, **deadlines)["warnings"] == []


@pytest.mark.usefixtures("queue")
def test_what_has_begun_or_ended_has_no_warning_of_its_beginning(alice) -> None:
    project = create(alice, start_deadline_seconds=60)
    claimed = claim()
    progress.enter(claimed, Phase.LOADING, progress=5)
    miss(project, "start_deadline_at")
    transitions.hand_back(claimed)
    assert alice.get(project["urls"]["self"]).json()["warnings"] == []

    alice.post(project["urls"]["cancel"])
    assert alice.get(project["urls"]["self"]).json()["warnings"] == []


def test_staff_see_them(alice, admin_client) -> None:
    project = create(alice, start_deadline_seconds=61, total_deadline_seconds=602)
    render = latest_render(project["id"])

    of_project = admin_client.get(f"/admin/projects/project/{project['id']}/change/").content.decode()
    of_render = admin_client.get(f"/admin/render/render/{render.pk}/change/").content.decode()

    assert "61" in of_project and "602" in of_project and "Total deadline seconds" in of_project
    assert "Total deadline at" in of_render and "Begun at" in of_render


def test_the_check_of_invariants_finds_what_should_have_ended(alice, capsys) -> None:
    create(alice, **BOTH)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE render_render SET start_deadline_at = now() - interval '4 minutes'")
    call_command("check_invariants")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE render_render SET start_deadline_at = now() - interval '6 minutes'")

    assert [finding.invariant.name for finding in invariants.check()] == ["start_deadline_kept"]
