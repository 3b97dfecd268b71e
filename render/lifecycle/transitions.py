"""The only module that changes a render's state.

    queued -> running -> finished | failed | canceled        running -> queued (crashed, failed for now, handed on)

A worker changes a state only under its fencing token, see `render.fence`. Money moves in the
same transaction.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Min, Q, Sum
from django.db.models.functions import Coalesce, Now

from accounts.billing import quota
from accounts.errors import ServiceError
from render.engines import registry
from render.engines.base import FPS
from render.fence import CancelRequested, Claim, announce, fence, lease_end
from render.machine import nodes
from render.models import Attempt, Node, Phase, Render, State
from render.queue import tickets

COMMON_QUEUE = "cpu"  # Its nodes do for every engine what needs no GPU: prepare, assemble, upload.


@transaction.atomic
def claim_next(queue_name: str, node: Node, *, without_engines: Collection[str] = ()) -> Claim | None:
    """Take the best render of the queue for this node, with a lease on it."""
    if Node.objects.filter(Q(draining=True) | nodes.RESTS, pk=node.pk).exists():
        tickets.top_up(queue_name)  # For others: the ticket that brought us here was taken before.
        return None
    render = tickets.lock_next(queue_name, node, without_engines=without_engines)
    if render is None:
        return None
    claim = Claim(render.pk, render.attempt + 1)
    Render.objects.filter(pk=render.pk).update(
        state=State.RUNNING,
        attempt=claim.attempt,
        node=node,
        lease_until=lease_end(),
        heartbeat_at=Now(),
        started_at=Coalesce("started_at", Now()),
    )
    Attempt.objects.create(render=render, number=claim.attempt, node=node)
    announce(render)
    return claim


def hand_over(claim: Claim, queue_name: str, phase: Phase) -> None:
    """What this node can do is done; the next step is another queue's."""
    with fence(claim) as render:
        _requeue(claim, render, Attempt.Outcome.HANDED_OVER, queue=queue_name, phase=phase)
        tickets.top_up(render.queue)  # A place under the tenant's limit is free there.


def hand_back(claim: Claim) -> None:
    """This node is draining: the render goes on elsewhere, from its last segment, and no crash is counted."""
    with fence(claim) as render:
        _requeue(claim, render, Attempt.Outcome.YIELDED)


def hand_back_for_fault(claim: Claim, fault: str, *, trace: str, variant: str = "") -> None:
    """This node could not go on, by a fault of its own: it takes no work for now, and no failure is counted.

    The first time another node may take the render at once. A render that asks too much of every node waits longer
    each time, so that it does not keep them from other work.
    variant: of the model, if it is only its files that are bad here. The node goes on with others, and its row says so.
    """
    with fence(claim) as render:
        if render.node_id is not None and not variant:  # Its row may have been deleted.
            nodes.rest(render.node_id, fault)
        times = render.attempts.filter(outcome=Attempt.Outcome.NODE_FAULT).count() + 1
        Render.objects.filter(pk=render.pk).update(error_trace=trace, variant=variant or render.variant)
        _requeue(claim, render, Attempt.Outcome.NODE_FAULT, delay=_nth(settings.NODE_FAULT_DELAYS, times))


def finish(claim: Claim, *, video_key: str, poster_key: str, duration_seconds: float) -> None:
    """Bill the measured output and end. Everything in one transaction, so that it happens once or not at all."""
    with fence(claim) as render:
        if render.cancel_requested_at is not None:
            raise CancelRequested
        segments = render.segments.all()
        frames = sum(segment.frames for segment in segments)
        if len(segments) != render.segments_total or frames != render.num_frames:
            raise RuntimeError(f"Render {render.pk} has {len(segments)} segments with {frames} frames")
        quota.settle(render.pk, seconds=ceil(frames / FPS), **_spent(render))
        Render.objects.filter(pk=render.pk).update(
            state=State.FINISHED,
            progress=100,
            video_key=video_key,
            poster_key=poster_key,
            duration_seconds=duration_seconds,
            lease_until=None,
            completed_at=Now(),
        )
        _end_attempt(claim, Attempt.Outcome.DONE)
        _offer_place(render)


def fail(claim: Claim, error: ServiceError, *, trace: str = "") -> None:
    """End with an error that another try would not mend."""
    with fence(claim) as render:
        _close(render, State.FAILED, error, trace=trace)
        _end_attempt(claim, Attempt.Outcome.FAILED)


@transaction.atomic
def fail_waiting(render: Render, error: ServiceError, *, trace: str) -> None:
    """Fail a queued render that no node can render. Nothing happens if it has been claimed or ended meanwhile."""
    render = Render.objects.select_for_update(of=("self",), no_key=True).get(pk=render.pk)
    if render.state == State.QUEUED:
        _close(render, State.FAILED, error, trace=trace)
        announce(render)


def retry_later(claim: Claim, error: ServiceError, *, trace: str, of_storage: bool = False, anew: bool = False) -> None:
    """Try again after a while, or end with `error` once it has failed too often without a new segment in between.

    of_storage: what failed is the media storage, which is counted apart and gets about a day to come back.
    anew: from the customer's files. `progress.prepared` then drops what was recorded before.
    """
    changes: dict[str, object] = (
        {"sources": None, "queue": COMMON_QUEUE, "phase": Phase.PREPARE, "progress": 0} if anew else {}
    )
    counter = "storage_failures" if of_storage else "failures"
    delays = settings.STORAGE_RETRY_DELAYS if of_storage else settings.RENDER_RETRY_DELAYS
    limit = len(delays) + 1 if of_storage else settings.RENDER_MAX_FAILURES
    with fence(claim) as render:
        failures = 1 if not anew and _has_got_further(render) else getattr(render, counter) + 1
        Render.objects.filter(pk=render.pk).update(**{counter: failures, "error_trace": trace})
        if failures >= limit:
            if anew:  # Nor does a later render of the same go on from there.
                Render.objects.filter(pk=render.pk).update(sources=None)
            _close(render, State.FAILED, error, trace=trace)
            _end_attempt(claim, Attempt.Outcome.FAILED)
        else:
            _requeue(claim, render, Attempt.Outcome.FAILED, delay=_nth(delays, failures), **changes)


@transaction.atomic
def request_cancel(render: Render) -> Render:
    """Cancel at once while it waits; ask its worker while it runs. Raises ServiceError `invalid_state` once ended."""
    render = Render.objects.select_for_update(of=("self",), no_key=True).get(pk=render.pk)
    if render.state == State.QUEUED:
        _close(render, State.CANCELED, _canceled())
    elif render.state == State.RUNNING:
        Render.objects.filter(pk=render.pk, cancel_requested_at=None).update(cancel_requested_at=Now())
    elif render.state != State.CANCELED:
        raise ServiceError(
            "invalid_state", f"The render has ended already ({render.state}); there is nothing to cancel."
        )
    announce(render)
    return render


def cancel(claim: Claim) -> None:
    """End a running render because a cancel was asked: nothing is billed."""
    with fence(claim) as render:
        _close(render, State.CANCELED, _canceled())
        _end_attempt(claim, Attempt.Outcome.CANCELED)


def reap(render: Render) -> None:
    """Take a locked, running render from a worker that no longer renews its lease."""
    claim = Claim(render.pk, render.attempt)
    crashes = 1 if _has_got_further(render) else render.crashes + 1
    Render.objects.filter(pk=render.pk).update(crashes=crashes)
    if render.cancel_requested_at is not None:
        _close(render, State.CANCELED, _canceled())
    elif crashes >= settings.RENDER_MAX_CRASHES:
        _close(render, State.FAILED, ServiceError("worker_lost", f"The worker was lost {crashes} times in a row."))
    else:
        _requeue(claim, render, Attempt.Outcome.LEASE_LOST, delay=_nth(settings.RENDER_RETRY_DELAYS, crashes))
        announce(render)
        return
    _end_attempt(claim, Attempt.Outcome.LEASE_LOST)
    announce(render)


def _has_got_further(render: Render) -> bool:
    """Whether its latest attempt has recorded something that no earlier one had; then a new count of failures begins.

    Not if segments had been lost before: then the same ones would be rendered and lost again without an end.
    """
    attempts = render.segments.aggregate(first=Min("attempt"), latest=Max("attempt"))
    if attempts["latest"] != render.attempt:
        return False
    lost = render.attempts.filter(render_seconds__gt=0, number__lt=attempts["first"])
    return not lost.exists()


def _requeue(claim: Claim, render: Render, outcome: Attempt.Outcome, *, delay: float = 0, **changes: object) -> None:
    if render.cancel_requested_at is not None:  # Nobody would claim it again, and its worker has not noticed yet.
        _close(render, State.CANCELED, _canceled())
        _end_attempt(claim, Attempt.Outcome.CANCELED)
        return
    Render.objects.filter(pk=render.pk).update(
        state=State.QUEUED, lease_until=None, not_before=Now() + timedelta(seconds=delay), **changes
    )
    _end_attempt(claim, outcome)
    tickets.add_ticket(str(changes.get("queue", render.queue)))


def _close(render: Render, state: State, error: ServiceError, *, trace: str = "") -> None:
    quota.release(render.pk, **_spent(render))
    Render.objects.filter(pk=render.pk).update(
        state=state,
        lease_until=None,
        completed_at=Now(),
        error_code=error.code,
        error_message=error.detail,
        error_param=error.param or "",
        error_retryable=error.retryable,
        error_trace=trace or F("error_trace"),
    )
    _offer_place(render)


def _offer_place(render: Render) -> None:
    """A place under the tenant's limit is free again, for renders of any queue."""
    queues = {render.queue}
    if render.engine in registry.names():  # It may have been taken out since.
        queues.add(registry.queue_of(render.engine))
    for name in queues:
        tickets.top_up(name)


def _end_attempt(claim: Claim, outcome: Attempt.Outcome) -> None:
    Attempt.objects.filter(render=claim.render_id, number=claim.attempt).update(outcome=outcome, ended_at=Now())


def _spent(render: Render) -> dict[str, Any]:
    """The engine's time, and what a node of its queue costs for so long."""
    seconds: float = render.attempts.aggregate(total=Coalesce(Sum("render_seconds"), 0.0))["total"]
    queue_name = registry.queue_of(render.engine) if render.engine in registry.names() else render.queue
    per_hour: int = settings.NODE_COST_MICROS_PER_HOUR.get(queue_name, 0)
    return {"gpu_seconds": seconds, "cost_micros": round(seconds * per_hour / 3600)}


def _nth(delays: Sequence[float], times: int) -> float:
    return delays[min(times, len(delays)) - 1]


def _canceled() -> ServiceError:
    return ServiceError("canceled", "The render was canceled.")
