"""A process is killed between every two statements of every step; afterwards all is well, and the step can be done."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django_q.models import OrmQ

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from creatorify.operations import invariants
from projects import services
from projects.models import Project
from render.fence import Claim, Fenced
from render.lifecycle import progress, reaper, retries, transitions
from render.machine import nodes
from render.models import Phase, Render, Segment, State
from tests.failpoints import dies_at
from tests.projects.steps import NEW, PROJECTS, TWO_SEGMENTS, claim, finish

pytestmark = pytest.mark.django_db(transaction=True)
MOST = 200  # failpoints of one step: a step has an end


@pytest.fixture(params=[5, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def every_failpoint(request) -> Callable[..., None]:
    """For each failpoint, or each fifth: what `prepare` gives goes to the step, which dies there, and to the check
    afterwards.
    """

    def die_at_each(prepare: Callable[[], object], step: Callable, check: Callable, *, at_least: int) -> None:
        for number in range(1, MOST, request.param):
            given = prepare()
            died = dies_at(number, lambda given=given: step(given))
            assert invariants.check() == []
            check(given)
            if not died:
                assert invariants.check() == []  # After all the checks: what they have done is still there.
                assert number > at_least, f"only {number} failpoints"
                return
        raise AssertionError("no end of it")

    return die_at_each


def expire(render_id: object) -> None:
    Render.objects.filter(pk=render_id).update(lease_until=Now() - timedelta(seconds=1))


def test_submit_is_all_or_nothing_and_the_same_request_again_makes_one_project(every_failpoint, alice) -> None:
    numbers = iter(range(MOST))

    def post(key: str) -> object:
        response = alice.post(PROJECTS, NEW, format="json", headers={"Idempotency-Key": key})
        assert response.status_code == 201, response.content
        return response.json()["id"]

    def check(key: str) -> None:
        before = Project.objects.count()
        assert Render.objects.count() == UsageEntry.objects.count() == OrmQ.objects.count() == before
        project_id = post(key)
        assert Project.objects.get().pk.hex == project_id.replace("-", "")
        assert invariants.check() == []  # Here, because the rows go now.
        Project.objects.all().delete()
        Render.objects.all().delete()
        UsageEntry.objects.all().delete()
        OrmQ.objects.all().delete()

    every_failpoint(lambda: f"key-{next(numbers)}", post, check, at_least=15)


@pytest.fixture
def waiting(alice) -> Callable[[], Render]:
    """A new render; those before it have ended."""

    def make() -> Render:
        for render in Render.objects.filter(state=State.QUEUED):
            transitions.request_cancel(render)
        project = Project(tenant=alice.tenant, api_key=alice.key, **NEW)
        return services.create_project(project).take.render

    return make


@pytest.fixture
def rendering(waiting) -> Callable[[], Claim]:
    """A claim of a render of two segments, the first of which is recorded."""

    def make() -> Claim:
        waiting()
        claimed = claim()
        progress.prepared(claimed, sources={}, plan=TWO_SEGMENTS, num_frames=50, segments_total=2)
        record(claimed, 0)
        return claimed

    return make


def record(claimed: Claim, index: int) -> None:
    named = {"num_bytes": 1, "frames": 25, "state_key": "", "render_seconds": 0.5, "progress": 50}
    progress.record_segment(claimed, index=index, key=f"k{index}", **named)


def end(claimed: Claim) -> None:
    transitions.finish(claimed, video_key="v", poster_key="p", duration_seconds=2)


def test_a_claim_is_made_or_not_and_another_worker_takes_the_render(every_failpoint, waiting) -> None:
    def check(render: Render) -> None:
        render.refresh_from_db()
        if render.state == State.RUNNING:
            expire(render.pk)
            assert reaper.run() == 1
            Render.objects.update(not_before=Now())
        again = claim()
        assert (again.render_id, again.attempt) == (render.pk, render.attempt + 1)
        finish(again)

    every_failpoint(waiting, lambda render: claim(), check, at_least=5)


def test_a_segment_is_recorded_once(every_failpoint, rendering) -> None:
    def check(claimed: Claim) -> None:
        record(claimed, 1)  # The worker itself goes on after an outage.
        assert Segment.objects.filter(render=claimed.render_id, index=1).count() == 1
        end(claimed)

    every_failpoint(rendering, lambda claimed: record(claimed, 1), check, at_least=5)


def test_a_render_is_finished_and_billed_once(every_failpoint, rendering) -> None:
    def prepare() -> Claim:
        claimed = rendering()
        record(claimed, 1)
        return claimed

    def check(claimed: Claim) -> None:
        bill = UsageEntry.objects.get(render_id=claimed.render_id)
        if Render.objects.get(pk=claimed.render_id).state == State.RUNNING:
            assert bill.billed_seconds is None
            end(claimed)
        with pytest.raises(Fenced):
            end(claimed)
        bill.refresh_from_db()
        assert bill.billed_seconds == 2

    every_failpoint(prepare, end, check, at_least=8)


@pytest.mark.parametrize(
    "step",
    [
        lambda claimed: transitions.hand_over(claimed, "cpu", Phase.ASSEMBLING),
        transitions.hand_back,
        lambda claimed: retries.retry_later(claimed, ServiceError("internal", "A bug."), trace=""),
        lambda claimed: transitions.fail(claimed, ServiceError("no_face", "No face.")),
        transitions.cancel,
        lambda claimed: reaper.run(),
    ],
    ids=["hand_over", "hand_back", "retry_later", "fail", "cancel", "reap"],
)
def test_a_render_is_let_go_of_once(every_failpoint, rendering, step) -> None:
    def prepare() -> Claim:
        claimed = rendering()
        expire(claimed.render_id)
        return claimed

    def check(claimed: Claim) -> None:
        reaper.run()
        render = Render.objects.get(pk=claimed.render_id)
        assert render.state != State.RUNNING
        assert render.attempts.count() == 1
        assert render.crashes + render.failures <= 1

    nodes.heartbeat("cpu")
    every_failpoint(prepare, step, check, at_least=5)
