"""A render that has missed a deadline ends, wherever it is by then, once and unbilled."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from accounts.errors import PROBLEM_TYPES, ServiceError
from accounts.models import UsageEntry
from render import fence
from render.fence import Claim, Fenced
from render.lifecycle import progress, reaper, retries, transitions
from render.lifecycle.lease import Lease
from render.lifecycle.submission import Deadlines
from render.models import Attempt, Phase, ReaperClock, Render, State
from render.pipeline import runner
from tests.engines import InstantEngine

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]

NO_SOURCES = {"portrait": None, "video": None, "voices": [], "sound": []}
PLAN = {"segments": [{"start": 0, "stop": 25}, {"start": 25, "stop": 50}]}
START, TOTAL = Deadlines(start_seconds=60), Deadlines(total_seconds=600)
NAMES = {START: "start_deadline_at", TOTAL: "total_deadline_at"}
MOMENT = timedelta(milliseconds=1)


def own(claimed: Claim) -> Render:
    return Render.objects.get(pk=claimed.render_id)


def usage(render: Render) -> UsageEntry:
    return UsageEntry.objects.get(render_id=render.pk)


def outcome(claimed: Claim) -> str:
    attempt = Attempt.objects.get(render=claimed.render_id, number=claimed.attempt)
    assert attempt.ended_at is not None
    return attempt.outcome


def miss(claimed: Claim, name: str = "total_deadline_at") -> None:
    Render.objects.filter(pk=claimed.render_id).update(**{name: Now() - MOMENT})


def segment(claimed: Claim, index: int) -> None:
    progress.record_segment(
        claimed, index=index, key=f"k{index}", num_bytes=3, frames=25, state_key="", render_seconds=2.0, progress=50
    )


def finish(claimed: Claim) -> None:
    transitions.finish(claimed, video_key="film", poster_key="poster", duration_seconds=2.0)


def hand_over(claimed: Claim) -> None:
    transitions.hand_over(claimed, "gpu", Phase.WAITING)


def has_ended(render: Render, said: str) -> None:
    render.refresh_from_db()
    assert (render.state, render.error_code, render.lease_until) == (State.FAILED, "deadline_exceeded", None)
    assert render.error_message == said
    assert render.completed_at is not None and render.error_param == "" and render.error_retryable is None
    assert PROBLEM_TYPES["deadline_exceeded"].retryable
    assert (usage(render).billed_seconds, usage(render).amount_micros) == (0, 0)


@pytest.fixture
def preparing(enqueue, claim) -> Claim:
    """With deadlines that are far away."""
    enqueue(deadlines=Deadlines(start_seconds=3600, total_seconds=7200))
    return claim()


@pytest.fixture
def prepared(preparing) -> Claim:
    progress.prepared(preparing, sources=NO_SOURCES, plan=PLAN, num_frames=50, segments_total=2)
    return preparing


@pytest.fixture
def begun(prepared) -> Claim:
    progress.enter(prepared, Phase.LOADING, progress=5)
    return prepared


def test_they_are_counted_from_the_creation(enqueue) -> None:
    render = enqueue(deadlines=Deadlines(start_seconds=60, total_seconds=600))
    render.refresh_from_db()

    hold = usage(render)
    assert render.start_deadline_at - hold.created_at == timedelta(seconds=60)
    assert render.total_deadline_at - hold.created_at == timedelta(seconds=600)
    assert timedelta(0) <= render.created_at - hold.created_at < timedelta(seconds=1)
    without = enqueue()
    without.refresh_from_db()
    assert (without.start_deadline_at, without.total_deadline_at, without.begun_at) == (None, None, None)


@pytest.mark.parametrize(
    ("deadlines", "said"),
    [
        (START, "The render had not begun 60 s after its creation (start_deadline_seconds)"),
        (TOTAL, "The render was not finished 600 s after its creation (total_deadline_seconds)"),
    ],
)
def test_who_waits_is_claimed_until_the_deadline_and_fails_from_then_on(
    enqueue, claim, plan, clock, deadlines, said
) -> None:
    plan.max_concurrent = 10
    plan.save()
    first, second = enqueue(deadlines=deadlines), enqueue(deadlines=deadlines)
    others = [enqueue(), enqueue(deadlines=Deadlines(start_seconds=3600, total_seconds=3600))]
    clock.set(getattr(first, NAMES[deadlines]) - MOMENT)
    reaper.run()
    assert claim().render_id == first.pk
    clock.set(getattr(second, NAMES[deadlines]))
    assert [claim().render_id, claim().render_id, claim()] == [*(other.pk for other in others), None]
    second.refresh_from_db()
    assert second.state == State.QUEUED  # The reaper has not come yet.

    reaper.run()

    has_ended(second, f"{said}; it was queued, phase prepare.")


def test_to_wait_for_a_gpu_is_not_to_have_begun(prepared, claim) -> None:
    hand_over(prepared)
    miss(prepared, "start_deadline_at")
    assert claim("gpu") is None

    reaper.run()

    assert own(prepared).error_message.endswith("it was queued, phase waiting.")
    assert (own(prepared).error_code, usage(own(prepared)).billed_seconds) == ("deadline_exceeded", 0)


def test_the_reaper_fails_all_that_wait_also_after_an_outage(enqueue) -> None:
    """Its grace is for leases, which could not be renewed."""
    late = [enqueue(deadlines=TOTAL) for _ in range(3)]
    Render.objects.filter(pk__in=[render.pk for render in late]).update(total_deadline_at=Now() - MOMENT)
    reaper.run()
    ReaperClock.objects.update(last_run_at=Now() - timedelta(hours=1))
    late.append(enqueue(deadlines=TOTAL))
    Render.objects.filter(pk=late[-1].pk).update(total_deadline_at=Now() - MOMENT)

    reaper.run()

    assert {render.error_code for render in Render.objects.filter(pk__in=[render.pk for render in late])} == {
        "deadline_exceeded"
    }


@pytest.mark.parametrize("name", NAMES.values())
def test_a_worker_that_prepares_is_stopped_at_its_next_renewal(preparing, name) -> None:
    lease = Lease(preparing)
    lease._renew()
    lease.check()
    miss(preparing, name)

    lease._renew()

    assert (own(preparing).state, own(preparing).error_code) == (State.FAILED, "deadline_exceeded")
    assert own(preparing).error_message.endswith("it was running, phase prepare.")
    assert (outcome(preparing), usage(own(preparing)).billed_seconds) == (Attempt.Outcome.FAILED, 0)
    with pytest.raises(Fenced):
        lease.check()


def test_a_worker_that_renders_is_stopped_by_the_total_deadline_alone(begun) -> None:
    lease = Lease(begun)
    segment(begun, 0)
    miss(begun, "start_deadline_at")
    lease._renew()
    assert own(begun).state == State.RUNNING
    miss(begun)

    lease._renew()

    assert own(begun).error_message.endswith("it was running, phase rendering.")
    assert (usage(own(begun)).billed_seconds, usage(own(begun)).gpu_seconds) == (0, 2.0)
    assert own(begun).segments.count() == 1  # A retry goes on from there.
    with pytest.raises(Fenced):
        lease.check()


def test_a_deadline_costs_a_renewal_no_statement(begun, enqueue, claim, django_assert_num_queries) -> None:
    enqueue()
    without = claim()
    for claimed in (without, begun):
        with django_assert_num_queries(3):
            fence.renew(claimed)


def test_who_has_begun_just_in_time_is_not_stopped(begun) -> None:
    """Between the renewal that finds the deadline missed and the end, the worker may have recorded that it began."""
    miss(begun, "start_deadline_at")

    assert not transitions.fail_overdue(begun)
    assert own(begun).state == State.RUNNING


LATE_STEPS = {
    "begin": (lambda late: progress.enter(late, Phase.LOADING, progress=5), "start_deadline_at"),
    "begin too late for all": (lambda late: progress.enter(late, Phase.LOADING, progress=5), "total_deadline_at"),
    "segment": (lambda late: segment(late, 1), "total_deadline_at"),
    "assemble": (lambda late: progress.enter(late, Phase.ASSEMBLING, progress=90), "total_deadline_at"),
    "finish": (finish, "total_deadline_at"),
}


@pytest.mark.parametrize("step", LATE_STEPS)
def test_a_step_that_comes_too_late_is_refused_and_changes_nothing(prepared, step) -> None:
    act, name = LATE_STEPS[step]
    for index in range(2 if step == "finish" else 1 if step in ("segment", "assemble") else 0):
        segment(prepared, index)
    miss(prepared, name)
    before = Render.objects.values().get(pk=prepared.render_id), own(prepared).segments.count()

    with pytest.raises(ServiceError) as refused:
        act(prepared)

    assert refused.value.code == "deadline_exceeded"
    assert (Render.objects.values().get(pk=prepared.render_id), own(prepared).segments.count()) == before
    assert usage(own(prepared)).billed_seconds is None


def test_a_film_that_is_ready_too_late_is_not_delivered(enqueue, claim, monkeypatch) -> None:
    """The whole way: the deadline passes while the engine makes the last segment."""
    render = enqueue(deadlines=TOTAL)
    original = InstantEngine.segments

    def slow(self, inputs, parameters, plan, resume, hold):
        for made in original(self, inputs, parameters, plan, resume, hold):
            if made.index + 1 == len(plan.segments):
                Render.objects.filter(pk=render.pk).update(total_deadline_at=Now() - MOMENT)
            yield made

    monkeypatch.setattr(InstantEngine, "segments", slow)
    claimed = claim()
    runner.run(claimed)

    render.refresh_from_db()
    assert (render.state, render.error_code, render.video_key) == (State.FAILED, "deadline_exceeded", "")
    assert render.error_message.endswith("it was running, phase rendering.")
    assert (usage(render).billed_seconds, outcome(claimed)) == (0, Attempt.Outcome.FAILED)
    assert render.begun_at is not None and render.segments.count() > 0


def test_a_film_in_time_is_finished_and_billed(enqueue, claim) -> None:
    render = enqueue(deadlines=Deadlines(start_seconds=600, total_seconds=600))

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.error_code, usage(render).billed_seconds) == (State.FINISHED, "", 4)
    assert render.started_at < render.begun_at < render.completed_at


def test_the_engine_begins_once(prepared, claim) -> None:
    for phase in (Phase.PREPARE, Phase.ASSEMBLING, Phase.UPLOADING):
        progress.enter(prepared, phase, progress=5)
        assert own(prepared).begun_at is None
    progress.enter(prepared, Phase.LOADING, progress=5)
    first = own(prepared).begun_at
    assert first is not None
    transitions.hand_back(prepared)
    again = claim()
    progress.enter(again, Phase.LOADING, progress=5)

    assert own(prepared).begun_at == first


LETTING_GO = {
    "hand over": (hand_over, Attempt.Outcome.HANDED_OVER),
    "hand back": (transitions.hand_back, Attempt.Outcome.YIELDED),
    "fault": (lambda held: transitions.hand_back_for_fault(held, "no room", trace=""), Attempt.Outcome.NODE_FAULT),
    "failure": (
        lambda held: retries.retry_later(held, ServiceError("internal", "It failed."), trace=""),
        Attempt.Outcome.FAILED,
    ),
    "crash": (lambda held: retries.reap(own(held)), Attempt.Outcome.LEASE_LOST),
}


@pytest.mark.parametrize("how", LETTING_GO)
@pytest.mark.parametrize("name", NAMES.values())
def test_who_is_let_go_of_too_late_ends_instead_of_waiting_again(prepared, how, name) -> None:
    let_go, expected = LETTING_GO[how]
    miss(prepared, name)

    let_go(prepared)

    assert (own(prepared).state, own(prepared).error_code) == (State.FAILED, "deadline_exceeded")
    assert own(prepared).error_message.endswith("it was running, phase waiting.")
    assert (outcome(prepared), usage(own(prepared)).billed_seconds) == (expected, 0)


@pytest.mark.parametrize("how", LETTING_GO)
def test_who_is_let_go_of_in_time_keeps_its_deadlines(begun, how) -> None:
    before = own(begun)

    LETTING_GO[how][0](begun)

    after = own(begun)
    assert after.state == State.QUEUED
    assert (after.start_deadline_at, after.total_deadline_at) == (before.start_deadline_at, before.total_deadline_at)
    assert after.begun_at == before.begun_at is not None


@pytest.mark.parametrize("anew", [False, True])
def test_once_begun_the_start_deadline_has_no_effect_also_after_a_failure(begun, claim, anew, settings) -> None:
    settings.RENDER_RETRY_DELAYS = [0]
    miss(begun, "start_deadline_at")
    retries.retry_later(begun, ServiceError("internal", "It failed."), trace="", anew=anew)
    reaper.run()
    assert own(begun).state == State.QUEUED

    again = claim()

    assert again == Claim(begun.render_id, 2)
    Lease(again)._renew()
    progress.enter(again, Phase.PREPARE if anew else Phase.LOADING, progress=5)
    assert own(again).state == State.RUNNING


def test_a_lost_work_is_not_gone_on_from_when_the_deadline_ends_it(prepared) -> None:
    miss(prepared)

    retries.retry_later(prepared, ServiceError("work_lost", "Lost."), trace="", anew=True)

    assert (own(prepared).error_code, own(prepared).sources) == ("deadline_exceeded", None)


def test_what_a_dead_worker_has_left_ends_with_its_lease(begun, claim) -> None:
    reaper.run()
    miss(begun)
    reaper.run()
    assert own(begun).state == State.RUNNING  # Its worker may live, and ends it itself.
    Render.objects.filter(pk=begun.render_id).update(lease_until=Now() - MOMENT)

    assert reaper.run() == 1
    assert (own(begun).state, own(begun).error_code) == (State.FAILED, "deadline_exceeded")
    assert (outcome(begun), usage(own(begun)).billed_seconds) == (Attempt.Outcome.LEASE_LOST, 0)
    with pytest.raises(Fenced):  # It was only frozen.
        finish(begun)
    assert claim() is None


@pytest.mark.parametrize(
    "end", [lambda held: Lease(held)._renew(), lambda held: retries.reap(own(held)), transitions.hand_back]
)
def test_a_cancel_that_came_first_is_the_outcome(begun, end) -> None:
    transitions.request_cancel(own(begun))
    miss(begun)

    end(begun)

    assert (own(begun).state, own(begun).error_code) == (State.CANCELED, "canceled")
    assert usage(own(begun)).billed_seconds == 0


def test_a_late_render_that_waits_can_be_canceled_until_it_has_failed(enqueue) -> None:
    first, second = enqueue(deadlines=TOTAL), enqueue(deadlines=TOTAL)
    Render.objects.filter(pk__in=[first.pk, second.pk]).update(total_deadline_at=Now() - MOMENT)
    assert transitions.request_cancel(first).state == State.CANCELED

    reaper.run()

    with pytest.raises(ServiceError, match="has ended already"):
        transitions.request_cancel(second)
    first.refresh_from_db()
    assert first.error_code == "canceled"


def test_what_a_worker_of_the_version_before_has_begun_goes_on(prepared) -> None:
    """It does not record when the engine began."""
    Render.objects.filter(pk=prepared.render_id).update(phase=Phase.LOADING)
    miss(prepared, "start_deadline_at")

    Lease(prepared)._renew()
    transitions.hand_back(prepared)
    reaper.run()

    assert (own(prepared).state, own(prepared).begun_at) == (State.QUEUED, None)


def test_both_missed_the_total_one_is_named(enqueue) -> None:
    render = enqueue(deadlines=Deadlines(start_seconds=60, total_seconds=60))
    late = {"start_deadline_at": Now() - MOMENT, "total_deadline_at": Now() - MOMENT}
    Render.objects.filter(pk=render.pk).update(created_at=Now() - timedelta(seconds=60), **late)

    reaper.run()

    has_ended(
        render,
        "The render was not finished 60 s after its creation (total_deadline_seconds); it was queued, phase prepare.",
    )
