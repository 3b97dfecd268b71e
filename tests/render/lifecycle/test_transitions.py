from collections.abc import Callable
from datetime import timedelta
from time import monotonic, sleep

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from render import fence
from render.fence import Fenced
from render.lifecycle import progress, reaper, retries, transitions
from render.lifecycle.lease import Draining, Lease
from render.lifecycle.planned_segments import WrongSegments
from render.machine import nodes
from render.models import Attempt, Node, Phase, ReaperClock, Render, Segment, State
from render.signals import render_changed

pytestmark = pytest.mark.django_db

PLAN = {"segments": [{"start": 0, "stop": 25}, {"start": 25, "stop": 50}]}


@pytest.fixture
def prepared(enqueue, claim):
    """A claim whose render is two segments long."""
    enqueue()
    token = claim()
    progress.prepared(token, sources={}, plan=PLAN, num_frames=50, segments_total=2)
    return token


def record(token, index: int, frames: int = 25) -> None:
    progress.record_segment(
        token,
        index=index,
        key=f"k{index}",
        num_bytes=1,
        frames=frames,
        state_key="",
        render_seconds=0.5,
        progress=50,
    )


def expire(token) -> None:
    Render.objects.filter(pk=token.render_id).update(lease_until=Now() - timedelta(seconds=1))


def billed(token) -> int | None:
    return UsageEntry.objects.get(render_id=token.render_id).billed_seconds


def test_a_finished_render_is_billed_from_its_segments(prepared) -> None:
    record(prepared, 0)
    record(prepared, 1)

    transitions.finish(prepared, video_key="v", poster_key="p", duration_seconds=2)

    assert billed(prepared) == 2
    assert UsageEntry.objects.get(render_id=prepared.render_id).gpu_seconds == 1.0


def test_it_cannot_finish_with_a_segment_missing(prepared) -> None:
    record(prepared, 0)

    with pytest.raises(WrongSegments):
        transitions.finish(prepared, video_key="v", poster_key="p", duration_seconds=2)

    assert Render.objects.get(pk=prepared.render_id).state == State.RUNNING
    assert billed(prepared) is None


def test_a_worker_that_lost_its_lease_can_write_nothing(prepared, claim) -> None:
    record(prepared, 0)
    expire(prepared)
    assert reaper.run() == 1
    successor = claim()
    assert successor.attempt == prepared.attempt + 1

    for write in (
        lambda: record(prepared, 1),
        lambda: fence.renew(prepared),
        lambda: progress.enter(prepared, Phase.ASSEMBLING, progress=95),
        lambda: transitions.finish(prepared, video_key="v", poster_key="p", duration_seconds=2),
        lambda: transitions.fail(prepared, ServiceError("internal", "no")),
        lambda: transitions.cancel(prepared),
        lambda: transitions.hand_back(prepared),
    ):
        with pytest.raises(Fenced):
            write()

    assert Segment.objects.filter(render=prepared.render_id).count() == 1
    assert billed(prepared) is None


def test_a_late_renewal_counts_while_nobody_has_reaped(prepared) -> None:
    expire(prepared)

    fence.renew(prepared)

    assert reaper.run() == 0


def test_a_render_that_kills_its_workers_is_given_up(enqueue, claim, settings) -> None:
    settings.RENDER_RETRY_DELAYS = [0]
    render = enqueue()

    for _ in range(settings.RENDER_MAX_CRASHES):
        expire(claim())
        reaper.run()

    render.refresh_from_db()
    assert (render.state, render.error_code, render.crashes) == (State.FAILED, "worker_lost", 5)
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0
    assert set(render.attempts.values_list("outcome", flat=True)) == {Attempt.Outcome.LEASE_LOST}


def test_a_crashed_render_waits_longer_each_time(enqueue, claim) -> None:
    render = enqueue()
    expire(claim())
    reaper.run()
    expire(claim())
    reaper.run()

    render.refresh_from_db()
    assert render.not_before - render.created_at > timedelta(seconds=25)
    assert claim() is None


def test_after_an_outage_of_the_database_workers_get_time_to_renew(prepared) -> None:
    expire(prepared)
    ReaperClock.objects.create(last_run_at=Now() - timedelta(minutes=2))

    assert reaper.run() == 0
    ReaperClock.objects.update(grace_until=Now() - timedelta(seconds=1))
    assert reaper.run() == 1


def test_a_cancel_of_a_dead_worker_is_carried_out_by_the_reaper(prepared) -> None:
    render = Render.objects.get(pk=prepared.render_id)
    transitions.request_cancel(render)
    expire(prepared)

    reaper.run()

    render.refresh_from_db()
    assert render.state == State.CANCELED
    assert billed(prepared) == 0


@pytest.mark.parametrize(
    "step",
    [
        lambda claim: transitions.hand_over(claim, "gpu", Phase.WAITING),
        transitions.hand_back,
        lambda claim: retries.retry_later(claim, ServiceError("internal", "A bug."), trace=""),
    ],
    ids=["handed over", "handed back", "retried"],
)
def test_a_cancel_that_its_worker_has_not_noticed_is_not_lost_when_it_lets_go(prepared, step) -> None:
    render = Render.objects.get(pk=prepared.render_id)
    transitions.request_cancel(render)

    step(prepared)

    render.refresh_from_db()
    assert (render.state, render.attempts.get().outcome) == (State.CANCELED, Attempt.Outcome.CANCELED)
    assert billed(prepared) == 0


def test_a_waiting_render_is_canceled_at_once(enqueue) -> None:
    render = enqueue()

    transitions.request_cancel(render)

    render.refresh_from_db()
    assert render.state == State.CANCELED
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0


def test_a_finished_render_cannot_be_canceled(prepared) -> None:
    record(prepared, 0)
    record(prepared, 1)
    transitions.finish(prepared, video_key="v", poster_key="p", duration_seconds=2)

    with pytest.raises(ServiceError, match="finished"):
        transitions.request_cancel(Render.objects.get(pk=prepared.render_id))

    assert billed(prepared) == 2


def test_a_handed_back_render_counts_no_crash(prepared) -> None:
    record(prepared, 0)

    transitions.hand_back(prepared)

    render = Render.objects.get(pk=prepared.render_id)
    assert (render.state, render.crashes, render.segments.count()) == (State.QUEUED, 0, 1)


def test_the_database_itself_refuses_to_leave_a_terminal_state(enqueue) -> None:
    render = transitions.request_cancel(enqueue())

    with pytest.raises(IntegrityError, match="cannot become queued"), transaction.atomic():
        Render.objects.filter(pk=render.pk).update(state=State.QUEUED, completed_at=None)


def test_a_render_of_an_engine_that_was_taken_out_can_still_be_canceled(enqueue, settings) -> None:
    render = enqueue(engine="slow")
    settings.RENDER_ENGINES = {name: entry for name, entry in settings.RENDER_ENGINES.items() if name != "slow"}

    transitions.request_cancel(render)

    render.refresh_from_db()
    assert render.state == State.CANCELED


def test_every_change_is_announced_in_its_transaction(enqueue, claim) -> None:
    states = []

    def note(sender, render, **named) -> None:
        states.append((render.state, transaction.get_connection().in_atomic_block))

    render_changed.connect(note)
    enqueue()
    transitions.fail(claim(), ServiceError("internal", "broken"))
    render_changed.disconnect(note)

    assert states == [("queued", True), ("running", True), ("failed", True)]


def test_a_receiver_that_fails_undoes_the_change(enqueue, claim) -> None:
    def refuse(**named) -> None:
        raise RuntimeError

    enqueue()
    token = claim()
    render_changed.connect(refuse)
    with pytest.raises(RuntimeError):
        transitions.fail(token, ServiceError("internal", "broken"))
    render_changed.disconnect(refuse)

    assert Render.objects.get(pk=token.render_id).state == State.RUNNING
    assert billed(token) is None


@pytest.mark.django_db(transaction=True)
class TestLeaseThread:
    @pytest.fixture(autouse=True)
    def _quick(self, settings) -> None:
        settings.RENDER_LEASE_RENEW_SECONDS = 0.05

    def wait_until(self, claim, reached: Callable[[Render], bool]) -> Render:
        deadline = monotonic() + 60
        while not reached(render := Render.objects.get(pk=claim.render_id)):
            assert monotonic() < deadline
            sleep(0.01)
        return render

    def wait_for(self, claim, state: str) -> Render:
        return self.wait_until(claim, lambda render: render.state == state)

    def wait_for_renewals(self, claim, number: int) -> None:
        for _ in range(number):
            last = Render.objects.get(pk=claim.render_id).heartbeat_at
            self.wait_until(claim, lambda render, last=last: render.heartbeat_at > last)

    def test_it_keeps_the_render(self, enqueue, claim, settings) -> None:
        settings.RENDER_LEASE_SECONDS = 0.2
        enqueue()
        token = claim()
        until = Render.objects.get(pk=token.render_id).lease_until

        with Lease(token) as lease:
            # Beyond the end of the first lease, and that of a second.
            self.wait_until(token, lambda render: render.heartbeat_at > until + timedelta(seconds=0.2))
            lease.check()

        assert Render.objects.get(pk=token.render_id).lease_until > until

    def test_it_shows_how_far_the_engine_is_and_never_goes_back(self, enqueue, claim) -> None:
        enqueue()
        token = claim()

        with Lease(token) as lease:
            lease.report(0.5)
            self.wait_until(token, lambda render: render.progress == 47)
            lease.report(0.1)
            self.wait_for_renewals(token, 2)  # The first may have begun before.

        assert Render.objects.get(pk=token.render_id).progress == 47

    def test_it_says_how_long_it_is_good_for(self, enqueue, claim, settings) -> None:
        settings.RENDER_LEASE_SECONDS = 40
        enqueue()

        with Lease(claim()) as lease:
            assert 0 < lease.seconds_left() <= 40
            assert (lease.render_id, lease.attempt) == (Render.objects.get().pk, 1)

    def test_it_carries_out_a_cancel_while_the_worker_is_deep_in_other_code(self, enqueue, claim) -> None:
        render = enqueue()
        token = claim()

        with Lease(token) as lease:
            transitions.request_cancel(render)
            assert self.wait_for(token, State.CANCELED).error_code == "canceled"
            with pytest.raises(Fenced):
                lease.check()

    def test_it_ends_a_render_that_gets_no_further(self, enqueue, claim, settings) -> None:
        settings.RENDER_TIMEOUT_SECONDS, settings.RENDER_MAX_FAILURES = 0, 1
        enqueue()
        token = claim()

        with Lease(token):
            assert self.wait_for(token, State.FAILED).error_code == "render_timeout"

        assert billed(token) == 0

    def test_it_tells_the_worker_that_the_node_is_draining(self, enqueue, claim) -> None:
        enqueue()
        token = claim()
        Node.objects.filter(pk=nodes.heartbeat("cpu").pk).update(draining=True)

        with Lease(token) as lease:
            self.wait_for_renewals(token, 2)  # What the first one has found is noted when the second begins.
            lease.check()
            with pytest.raises(Draining):
                lease.check_draining()
