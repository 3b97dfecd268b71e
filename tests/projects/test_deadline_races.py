"""A deadline passes while a worker finishes, a customer cancels and the reaper reaps: one end, and one bill for it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from creatorify.operations import invariants
from projects.models.webhooks import EventType, WebhookEndpoint, WebhookEvent
from render.fence import CancelRequested, Claim, Fenced
from render.lifecycle import progress, reaper, retries, transitions
from render.models import TERMINAL_STATES, Attempt, Phase, Render, State
from render.pipeline.attempt_end import record_end
from tests.projects.steps import NO_SOURCES, claim, create
from tests.two_connections import meanwhile

pytestmark = pytest.mark.django_db(transaction=True)

PLAN = {"segments": [{"start": 0, "stop": 25}]}
ENDS = {State.FINISHED: "project.finished", State.FAILED: "project.failed", State.CANCELED: "project.canceled"}


@pytest.fixture
def ready(alice) -> Claim:
    """All but its end is done."""
    WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://example.com/hook", events=list(EventType))
    create(alice, start_deadline_seconds=600, total_deadline_seconds=600)
    claimed = claim()
    progress.prepared(claimed, sources=NO_SOURCES, plan=PLAN, num_frames=25, segments_total=1)
    progress.enter(claimed, Phase.LOADING, progress=5)
    progress.record_segment(
        claimed, index=0, key="k", num_bytes=1, frames=25, state_key="", render_seconds=1.0, progress=90
    )
    return claimed


def finish(claimed: Claim) -> None:
    try:
        transitions.finish(claimed, video_key="film", poster_key="poster", duration_seconds=1.0)
    except (Fenced, CancelRequested, ServiceError) as error:
        record_end(claimed, error)


def renew(claimed: Claim) -> None:
    with suppress(Fenced):
        transitions.fail_overdue(claimed)


def cancel(claimed: Claim) -> None:
    try:
        transitions.request_cancel(Render.objects.get(pk=claimed.render_id))
    except ServiceError as error:
        assert error.code == "invalid_state"


@transaction.atomic
def reap(claimed: Claim) -> None:
    render = Render.objects.select_for_update(no_key=True).get(pk=claimed.render_id)
    if render.state == State.RUNNING:
        retries.reap(render)


def in_threads(acts: list[Callable[[], object]]) -> None:
    barrier = Barrier(len(acts))

    def act(one: Callable[[], object]) -> None:
        try:
            barrier.wait()
            one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        for future in [pool.submit(act, one) for one in acts]:
            future.result(20)


def ended_once() -> Render:
    render = Render.objects.get()
    assert render.is_terminal
    finished = render.state == State.FINISHED
    assert (UsageEntry.objects.get().billed_seconds, bool(render.video_key)) == (int(finished), finished)
    types = set(WebhookEvent.objects.filter(render_id=render.pk).values_list("type", flat=True))
    assert types & set(ENDS.values()) == {ENDS[State(render.state)]}
    assert not Attempt.objects.filter(ended_at=None).exists()
    assert invariants.check() == []
    return render


@pytest.mark.parametrize("milliseconds", [0, 10])
@pytest.mark.parametrize("others", [[renew], [cancel], [reap], [renew, cancel, reap]])
def test_there_is_one_end(ready, others, milliseconds) -> None:
    Render.objects.update(total_deadline_at=Now() + timedelta(milliseconds=milliseconds))

    in_threads([lambda one=one: one(ready) for one in [finish, *others]])
    # What has not ended was let go of before the deadline, or its worker has yet to hear of the cancel.
    Render.objects.exclude(state__in=TERMINAL_STATES).update(total_deadline_at=Now())
    renew(ready)
    reaper.run()

    ended_once()


def test_a_film_that_is_being_finished_when_the_deadline_is_missed_is_not(ready) -> None:
    """The time counts at which the worker has got the row, not the one at which it has asked for it."""
    change = "UPDATE render_render SET total_deadline_at = now() WHERE id = %s"

    meanwhile(lambda: finish(ready), change, ready.render_id)

    assert ended_once().error_code == "deadline_exceeded"


def test_a_render_that_another_process_is_just_claiming_is_left_to_it(alice) -> None:
    """The reaper does not wait for the row, and does not end what has begun meanwhile."""
    create(alice, start_deadline_seconds=600)
    Render.objects.update(start_deadline_at=Now() - timedelta(milliseconds=1))
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Render.objects.select_for_update(no_key=True).get()

        def other() -> None:
            try:
                reaper.run()
            finally:
                connection.close()

        pool.submit(other).result(20)
    assert Render.objects.get().state == State.QUEUED

    reaper.run()

    assert Render.objects.get().error_code == "deadline_exceeded"
