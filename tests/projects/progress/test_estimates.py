"""`render.estimates.completion`, as a caller sees it in a project."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from accounts.errors import ServiceError
from render.lifecycle import progress, retries, transitions
from render.models import Node, Phase, Render, Segment, State
from tests.projects.steps import claim, create, finish, finished_project

LONG_AGO = timezone.now() - timedelta(days=1)


@pytest.fixture
def see(alice):
    def see(project):
        return alice.get(project["urls"]["status"]).json()

    return see


def made_earlier(project):
    """So that it stands before all others in the queue."""
    Render.objects.filter(pk=project["call_id"]).update(created_at=timezone.now() - timedelta(hours=1))


def test_the_queue_goes_by_age(alice, charlie, see):
    projects = [create(alice), create(charlie), create(alice)]
    made_earlier(projects[2])

    assert see(projects[2])["queue_position"] == 1
    assert see(projects[0])["queue_position"] == 2
    assert (see(projects[2])["waiting_reason"], see(projects[0])["waiting_reason"]) == ("next", "behind_others")


def test_nothing_is_estimated_once_it_has_ended(alice, see):
    project = finished_project(alice)

    status = see(project)

    assert status["queue_position"] is status["waiting_reason"] is status["eta_seconds"] is None
    assert status["poll_after_seconds"] is None


def test_a_tenant_at_its_limit_is_told_so(alice, plan, see):
    plan.max_concurrent = 1
    plan.save(update_fields=["max_concurrent"])
    create(alice)
    claim()

    assert see(create(alice))["waiting_reason"] == "concurrency_limit"


def test_a_render_that_waits_for_its_next_try_says_so(alice, see):
    project = create(alice)
    retries.retry_later(claim(), ServiceError("download_failed", "No answer."), trace="")
    Render.objects.update(not_before=timezone.now() + timedelta(seconds=60))

    assert see(project)["waiting_reason"] == "retry_delay"


def test_an_old_ticket_means_that_no_worker_takes_any(alice, see):
    project = create(alice)
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=11))

    assert (see(project)["waiting_reason"], see(project)["eta_seconds"]) == ("no_worker", None)


def test_busy_workers_are_workers(alice, see):
    create(alice)
    claim()
    project = create(alice)
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=11))

    assert see(project)["waiting_reason"] == "next"


def test_the_time_left_follows_from_recent_renders_and_those_ahead(alice, see):
    for _ in range(2):
        create(alice)
        finish(claim(), seconds=10, render_seconds=30.0)  # three seconds of work for one of output
    projects = [create(alice), create(alice)]

    assert see(projects[0])["eta_seconds"] == 30
    assert see(projects[1])["eta_seconds"] == 60


def test_what_has_gone_on_from_an_earlier_render_says_nothing_of_the_pace(alice, see):
    """It has done only a part of the work for its film."""
    create(alice)
    finish(claim(), seconds=10, render_seconds=30.0)
    create(alice)
    finish(claim(), seconds=10, render_seconds=0.1)
    Segment.objects.filter(render=Render.objects.latest("completed_at")).update(attempt=0)

    assert see(create(alice))["eta_seconds"] == 30


def test_the_time_left_shrinks_with_progress(alice, see):
    create(alice)
    finish(claim(), seconds=10, render_seconds=30.0)
    project = create(alice)
    claimed = claim()
    progress.prepared(claimed, sources={}, plan={}, num_frames=500, segments_total=4)

    Render.objects.filter(state=State.RUNNING).update(progress=0)
    assert see(project)["eta_seconds"] == 60
    Render.objects.filter(state=State.RUNNING).update(progress=75)
    assert see(project)["eta_seconds"] == 15


def test_it_does_not_guess_before_it_is_in_its_engines_queue(alice, see):
    project = create(alice, parameters={"engine": "stateful"})
    assert see(project)["eta_seconds"] is None

    transitions.hand_over(claim(), "gpu", Phase.WAITING)
    assert see(project)["eta_seconds"] == 10


def test_other_weights_of_the_model_take_time_to_load(alice, see):
    first, other = (create(alice, parameters={"engine": "stateful"}) for _ in range(2))
    for _ in range(2):
        transitions.hand_over(claim(), "gpu", Phase.WAITING)
    Render.objects.update(variant="1-standard")
    assert [see(project)["eta_seconds"] for project in (first, other)] == [10, 20]

    Render.objects.filter(take__project=other["id"]).update(variant="2-standard")
    assert [see(project)["eta_seconds"] for project in (first, other)] == [10, 60]


def test_those_that_are_only_prepared_here_cost_little(alice, see):
    for _ in range(3):
        create(alice, parameters={"engine": "stateful"})
    create(alice)
    project = create(alice)

    assert see(project)["eta_seconds"] == 6 + 5 + 5  # two seconds each, and the draft engine's default pace


def test_what_needs_only_to_be_joined_goes_first_and_is_soon_done(alice, plan, see):
    plan.max_concurrent = 1
    plan.save(update_fields=["max_concurrent"])
    create(alice)
    create(alice, parameters={"engine": "draft"})
    claim()
    rendered = create(alice, parameters={"engine": "stateful"})
    Render.objects.filter(pk=rendered["call_id"]).update(phase=Phase.ASSEMBLING, progress=95, num_frames=5000)

    shown = see(rendered)

    assert (shown["queue_position"], shown["waiting_reason"]) == (1, "next")
    assert shown["eta_seconds"] < 10


def test_a_resumed_render_has_less_to_do(alice, see):
    project = create(alice)
    Render.objects.update(num_frames=500, progress=50)

    assert see(project)["eta_seconds"] == 5


def test_who_comes_after_the_queues_were_looked_at_stands_behind_those_seen(alice, charlie, plan, see, settings):
    plan.max_concurrent = 1
    plan.save(update_fields=["max_concurrent"])
    first, running = create(alice), create(alice)
    made_earlier(running)
    claim()
    settings.ESTIMATE_SECONDS = 0.0
    assert see(first)["queue_position"] == 1
    settings.ESTIMATE_SECONDS = 3600.0  # From now on nobody looks.

    new = see(create(alice))
    assert (new["queue_position"], new["waiting_reason"]) == (2, "concurrency_limit")
    older = create(charlie)
    made_earlier(older)
    seen = charlie.get(older["urls"]["status"]).json()
    assert (seen["queue_position"], seen["waiting_reason"]) == (1, "next")
    delayed = create(alice)
    Render.objects.filter(pk=delayed["call_id"]).update(not_before=timezone.now() + timedelta(minutes=1))
    assert see(delayed)["waiting_reason"] == "retry_delay"


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([{"fault": "no room"}], "node_fault"),
        ([{"fault": "no room"}, {"fault": "read-only"}], "node_fault"),
        ([{"fault": "no room"}, {"fault": ""}], "next"),
        ([{"fault": "no room", "queue": "gpu"}], "next"),
        ([{"fault": "no room", "heartbeat_at": LONG_AGO}], "next"),
    ],
)
def test_a_render_says_so_when_no_machine_has_room(alice, see, nodes, reason):
    for number, fields in enumerate(nodes):
        Node.objects.create(**{"name": f"node-{number}", "queue": "cpu", **fields})

    status = see(create(alice))

    assert status["waiting_reason"] == reason
    assert (status["eta_seconds"] is None) == (reason == "node_fault")
