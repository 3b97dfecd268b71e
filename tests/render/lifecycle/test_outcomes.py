"""What a step of a worker leaves: of the render, its attempt, its usage and its times, all of it."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from render import fence
from render.fence import CancelRequested, Claim, Fenced
from render.lifecycle import progress, retries, transitions
from render.lifecycle.planned_segments import WrongSegments
from render.models import Attempt, Node, Phase, Render, Segment, State
from render.signals import render_changed, render_moved_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]

NO_SOURCES = {"portrait": None, "video": None, "voices": [], "sound": []}
ERROR = ServiceError("no_face", "No face.", param="image_url")

PLAN = {"segments": [{"start": 0, "stop": 25}, {"start": 25, "stop": 50}]}


@pytest.fixture
def mine(enqueue, claim) -> Claim:
    enqueue()
    claimed = claim()
    progress.prepared(claimed, sources=NO_SOURCES, plan=PLAN, num_frames=50, segments_total=2)
    return claimed


def own(mine: Claim) -> Render:
    return Render.objects.get(pk=mine.render_id)


def attempt(mine: Claim) -> Attempt:
    return Attempt.objects.get(render=mine.render_id, number=mine.attempt)


def usage(mine: Claim) -> UsageEntry:
    return UsageEntry.objects.get(render_id=mine.render_id)


def segment(mine: Claim, index: int = 0, **changes) -> None:
    given = {"key": f"k{index}", "num_bytes": 3, "frames": 25, "state_key": "s", "render_seconds": 2.0, "progress": 50}
    progress.record_segment(mine, index=index, **{**given, **changes})


def seconds_until(moment) -> float:
    return (moment - timezone.now()).total_seconds()


def test_a_claim(mine) -> None:
    render = own(mine)

    assert (render.state, render.attempt, render.node) == (State.RUNNING, 1, Node.objects.get())
    assert seconds_until(render.lease_until) == pytest.approx(settings.RENDER_LEASE_SECONDS, abs=5)
    assert render.heartbeat_at is not None and render.started_at is not None
    assert (attempt(mine).node, attempt(mine).outcome, attempt(mine).ended_at) == (render.node, "", None)


def test_what_was_prepared(mine) -> None:
    render = own(mine)

    assert (render.sources, render.plan, render.num_frames, render.segments_total) == (NO_SOURCES, PLAN, 50, 2)
    assert render.phase == Phase.WAITING
    assert (usage(mine).reserved_seconds, usage(mine).amount_micros) == (2, 2000)


def test_a_second_claim_keeps_the_first_start(mine, claim) -> None:
    started = timezone.now() - timedelta(hours=1)
    Render.objects.filter(pk=mine.render_id).update(started_at=started)
    transitions.hand_back(mine)

    again = claim()

    assert again == Claim(mine.render_id, 2)
    assert own(mine).started_at == started


def test_a_segment(mine) -> None:
    segment(mine)

    [stored] = Segment.objects.filter(render=mine.render_id)
    assert (stored.index, stored.attempt, stored.key, stored.num_bytes) == (0, 1, "k0", 3)
    assert (stored.frames, stored.state_key) == (25, "s")
    assert (own(mine).phase, own(mine).progress) == (Phase.RENDERING, 50)
    assert attempt(mine).render_seconds == 2.0
    segment(mine, 1, render_seconds=1.5)
    assert attempt(mine).render_seconds == 3.5


def test_a_segment_that_was_recorded_already_is_not_counted_again(mine) -> None:
    segment(mine)
    segment(mine)

    assert Segment.objects.filter(render=mine.render_id).count() == 1
    assert attempt(mine).render_seconds == 2.0


def test_a_segment_of_a_render_that_is_to_end_is_not_recorded(mine) -> None:
    transitions.request_cancel(own(mine))

    with pytest.raises(CancelRequested):
        segment(mine)
    assert not Segment.objects.filter(render=mine.render_id).exists()


def test_a_phase(mine) -> None:
    progress.enter(mine, Phase.ASSEMBLING, progress=91)

    assert (own(mine).phase, own(mine).progress) == (Phase.ASSEMBLING, 91)


def test_the_end(mine, settings) -> None:
    settings.NODE_COST_MICROS_PER_HOUR = {"cpu": 3600}
    segment(mine)
    segment(mine, 1)

    transitions.finish(mine, video_key="film", poster_key="poster", duration_seconds=2.0)

    render = own(mine)
    assert (render.state, render.progress, render.lease_until) == (State.FINISHED, 100, None)
    assert (render.video_key, render.poster_key, render.duration_seconds) == ("film", "poster", 2.0)
    assert render.completed_at is not None
    assert (attempt(mine).outcome, attempt(mine).ended_at is not None) == (Attempt.Outcome.DONE, True)
    assert (usage(mine).billed_seconds, usage(mine).gpu_seconds, usage(mine).cost_micros) == (2, 4.0, 4)


@pytest.mark.parametrize("stored", [[25], [25, 24], [25, 26], [25, 24, 1]])
def test_no_end_with_other_segments_than_were_planned(mine, stored) -> None:
    for index, frames in enumerate(stored):
        segment(mine, index, frames=frames)

    with pytest.raises(WrongSegments):
        transitions.finish(mine, video_key="film", poster_key="poster", duration_seconds=2.0)
    assert (own(mine).state, usage(mine).billed_seconds) == (State.RUNNING, None)


def test_the_error_says_which_segment_has_which_length(mine) -> None:
    segment(mine, 0)
    segment(mine, 1, frames=24)

    with pytest.raises(WrongSegments, match="segment 1: 24 frames instead of 25$") as caught:
        transitions.finish(mine, video_key="film", poster_key="poster", duration_seconds=2.0)
    assert caught.value.first == 1


@pytest.mark.parametrize(("state_key", "kept"), [("", 1), ("state", 0)])
def test_a_segment_of_a_wrong_length_is_dropped_and_rendered_again(mine, claim, state_key, kept) -> None:
    segment(mine, 0, state_key=state_key)
    segment(mine, 1, frames=24, state_key=state_key)

    retries.render_again(mine, WrongSegments("wrong", first=1), trace="where")

    render = own(mine)
    assert (render.state, render.phase, render.failures) == (State.QUEUED, Phase.WAITING, 1)
    # Only the newest checkpoint is kept, so an engine with checkpoints begins anew.
    assert render.segments.count() == kept
    again = claim()
    for index in range(kept, 2):
        segment(again, index)
    transitions.finish(again, video_key="film", poster_key="poster", duration_seconds=2.0)
    assert (own(mine).state, usage(mine).billed_seconds) == (State.FINISHED, 2)


def test_wrong_segments_are_not_rendered_again_without_an_end(mine, claim, settings) -> None:
    settings.RENDER_RETRY_DELAYS = [0]
    claimed = mine
    segment(claimed, 0, state_key="")
    for _ in range(settings.RENDER_MAX_FAILURES):
        segment(claimed, 1, frames=24, state_key="")
        retries.render_again(claimed, WrongSegments("wrong", first=1), trace="where")
        claimed = claim()

    assert claimed is None
    assert (own(mine).state, own(mine).error_code, own(mine).error_trace) == (State.FAILED, "internal", "where")
    assert usage(mine).billed_seconds == 0


def test_no_end_of_a_render_that_is_to_be_canceled(mine) -> None:
    segment(mine)
    segment(mine, 1)
    transitions.request_cancel(own(mine))

    with pytest.raises(CancelRequested):
        transitions.finish(mine, video_key="film", poster_key="poster", duration_seconds=2.0)
    assert own(mine).state == State.RUNNING


def test_a_failure(mine, settings) -> None:
    settings.NODE_COST_MICROS_PER_HOUR = {"cpu": 1800}
    segment(mine)
    transitions.fail(mine, ERROR, trace="where")

    render = own(mine)
    assert (render.state, render.lease_until, render.completed_at is not None) == (State.FAILED, None, True)
    assert (render.error_code, render.error_message) == ("no_face", "No face.")
    assert (render.error_param, render.error_trace) == ("image_url", "where")
    assert (attempt(mine).outcome, attempt(mine).ended_at is not None) == (Attempt.Outcome.FAILED, True)
    assert (usage(mine).billed_seconds, usage(mine).gpu_seconds, usage(mine).cost_micros) == (0, 2.0, 1)


def test_a_cancel_of_its_worker(mine) -> None:
    transitions.cancel(mine)

    assert (own(mine).state, own(mine).error_code, own(mine).error_param) == (State.CANCELED, "canceled", "")
    assert attempt(mine).outcome == Attempt.Outcome.CANCELED
    assert usage(mine).billed_seconds == 0


def test_a_cancel_is_asked_for_once(mine) -> None:
    first = transitions.request_cancel(own(mine)).cancel_requested_at
    assert first is not None

    assert transitions.request_cancel(own(mine)).cancel_requested_at == first
    assert own(mine).state == State.RUNNING
    transitions.cancel(mine)
    assert transitions.request_cancel(own(mine)).state == State.CANCELED


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (lambda mine: transitions.hand_over(mine, "gpu", Phase.LOADING), Attempt.Outcome.HANDED_OVER),
        (transitions.hand_back, Attempt.Outcome.YIELDED),
    ],
)
def test_what_goes_on_elsewhere(mine, step, outcome) -> None:
    before = own(mine)
    step(mine)

    render = own(mine)
    assert (render.state, render.lease_until, render.completed_at) == (State.QUEUED, None, None)
    assert (render.crashes, render.failures) == (0, 0)
    assert render.not_before <= timezone.now()
    assert (attempt(mine).outcome, attempt(mine).ended_at is not None) == (outcome, True)
    moved = outcome == Attempt.Outcome.HANDED_OVER
    assert (render.queue, render.phase) == (("gpu", Phase.LOADING) if moved else (before.queue, before.phase))
    assert usage(mine).billed_seconds is None


@pytest.mark.parametrize(("failures", "wait"), [(0, 0), (1, 30)])
def test_a_failure_that_may_pass_waits_longer_each_time(mine, failures, wait) -> None:
    Render.objects.filter(pk=mine.render_id).update(failures=failures)

    retries.retry_later(mine, ERROR, trace="where")

    render = own(mine)
    assert (render.state, render.failures, render.storage_failures) == (State.QUEUED, failures + 1, 0)
    assert seconds_until(render.not_before) == pytest.approx(wait, abs=5)
    assert (render.error_trace, render.error_code) == ("where", "")
    assert attempt(mine).outcome == Attempt.Outcome.FAILED


def test_the_third_failure_is_the_last(mine) -> None:
    Render.objects.filter(pk=mine.render_id).update(failures=2, storage_failures=20)

    retries.retry_later(mine, ERROR, trace="where")

    assert (own(mine).state, own(mine).error_code, own(mine).failures) == (State.FAILED, "no_face", 3)
    assert (own(mine).error_trace, attempt(mine).outcome) == ("where", Attempt.Outcome.FAILED)


@pytest.mark.parametrize(("failures", "wait"), [(0, 30), (1, 120), (4, 3600), (25, 3600), (26, None)])
def test_the_storage_gets_about_a_day(mine, failures, wait) -> None:
    Render.objects.filter(pk=mine.render_id).update(storage_failures=failures, failures=2)

    retries.retry_later(mine, ERROR, trace="where", of_storage=True)

    render = own(mine)
    assert (render.storage_failures, render.failures) == (failures + 1, 2)
    assert render.state == (State.FAILED if wait is None else State.QUEUED)
    if wait is not None:
        assert seconds_until(render.not_before) == pytest.approx(wait, abs=5)


@pytest.mark.parametrize(("crashes", "wait"), [(0, 0), (1, 30), (2, 120), (3, 600), (4, None)])
def test_a_crash(mine, crashes, wait) -> None:
    Render.objects.filter(pk=mine.render_id).update(crashes=crashes)

    retries.reap(own(mine))

    render = own(mine)
    assert render.crashes == crashes + 1
    assert (attempt(mine).outcome, attempt(mine).ended_at is not None) == (Attempt.Outcome.LEASE_LOST, True)
    if wait is None:
        assert (render.state, render.error_code) == (State.FAILED, "worker_lost")
        assert usage(mine).billed_seconds == 0
    else:
        assert (render.state, render.lease_until) == (State.QUEUED, None)
        assert seconds_until(render.not_before) == pytest.approx(wait, abs=5)


def test_a_crash_of_what_is_to_be_canceled(mine) -> None:
    transitions.request_cancel(own(mine))
    retries.reap(own(mine))

    assert (own(mine).state, own(mine).error_code) == (State.CANCELED, "canceled")
    assert attempt(mine).outcome == Attempt.Outcome.LEASE_LOST


def test_what_is_let_go_of_while_it_is_to_be_canceled(mine) -> None:
    transitions.request_cancel(own(mine))
    transitions.hand_back(mine)

    assert (own(mine).state, attempt(mine).outcome) == (State.CANCELED, Attempt.Outcome.CANCELED)


STEPS = {
    "enter": lambda mine: progress.enter(mine, Phase.ASSEMBLING, progress=91),
    "segment": segment,
    "prepared": lambda mine: progress.prepared(mine, sources={}, plan={}, num_frames=1, segments_total=1),
    "renew": fence.renew,
    "hand back": transitions.hand_back,
    "fail": lambda mine: transitions.fail(mine, ERROR),
    "cancel": transitions.cancel,
    "try later": lambda mine: retries.retry_later(mine, ERROR, trace=""),
    "finish": lambda mine: transitions.finish(mine, video_key="v", poster_key="p", duration_seconds=1),
}
LOST = {
    "another attempt": {"attempt": 2},
    "waiting": {"state": State.QUEUED, "lease_until": None},
    "canceled": {"state": State.CANCELED, "lease_until": None, "completed_at": Now()},
}


@pytest.mark.parametrize("lost", LOST)
def test_who_has_lost_the_render_writes_nothing(mine, lost) -> None:
    def written() -> tuple:
        return (
            Render.objects.values().get(pk=mine.render_id),
            UsageEntry.objects.values().get(render_id=mine.render_id),
            list(Segment.objects.filter(render=mine.render_id)),
        )

    Render.objects.filter(pk=mine.render_id).update(**LOST[lost])
    before = written()
    assert before[2] == []

    for name, step in STEPS.items():
        with pytest.raises(Fenced):
            step(mine)
        assert written() == before, name


def test_what_a_film_costs_follows_the_engines_queue(enqueue, claim, settings) -> None:
    settings.NODE_COST_MICROS_PER_HOUR = {"cpu": 0, "gpu": 3600}
    enqueue(engine="stateful")
    claimed = claim()
    Attempt.objects.filter(render=claimed.render_id).update(render_seconds=10)

    transitions.cancel(claimed)

    assert usage(claimed).cost_micros == 10


def test_a_node_without_a_price_costs_nothing(enqueue, claim, settings) -> None:
    settings.NODE_COST_MICROS_PER_HOUR = {}
    enqueue()
    claimed = claim()
    Attempt.objects.filter(render=claimed.render_id).update(render_seconds=36_000)

    transitions.cancel(claimed)

    assert (usage(claimed).gpu_seconds, usage(claimed).cost_micros) == (36_000, 0)


def test_a_draining_node_gives_its_ticket_back(enqueue, claim) -> None:
    enqueue()
    claimed = claim()
    transitions.hand_back(claimed)
    Node.objects.update(draining=True)
    OrmQ.objects.all().delete()

    assert claim() is None
    assert [ticket.key for ticket in OrmQ.objects.all()] == ["cpu"]


@pytest.mark.parametrize("step", ["enter", "segment", "hand back", "fail", "cancel", "try later", "renew", "finish"])
def test_a_change_is_announced_once_and_that_of_a_state_as_such_too(mine, step) -> None:
    changed, moved_on = [], []

    def note_change(render, **_: object) -> None:
        changed.append(render.pk)

    def note_progress(render, **_: object) -> None:
        moved_on.append(render.pk)

    render_changed.connect(note_change)
    render_moved_on.connect(note_progress)
    try:
        if step == "finish":
            segment(mine)
            segment(mine, 1)
            moved_on.clear()
        STEPS[step](mine)
    finally:
        render_changed.disconnect(note_change)
        render_moved_on.disconnect(note_progress)

    changes_state = step not in ("enter", "segment", "renew")
    assert changed == ([mine.render_id] if changes_state else [])
    assert moved_on == ([] if step == "renew" else [mine.render_id])
