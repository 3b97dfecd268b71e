"""The only module that changes a render's state, and in it one function: `enter_state`.

    queued -> running -> finished | failed | canceled        running -> queued (crashed, failed for now, handed on)

A worker changes a state only under its fencing token, see `render.fence`. The render's hold is settled in the same
transaction.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce, Now

from accounts.billing import quota
from accounts.errors import ServiceError
from render import deadlines
from render.engines import registry
from render.engines.base import FPS
from render.fence import CancelRequested, Claim, fence, lease_end
from render.lifecycle import progress
from render.lifecycle.planned_segments import require_planned_segments
from render.machine import nodes
from render.models import Attempt, Node, Phase, Render, State
from render.queue import selection, tickets
from render.signals import render_changed

COMMON_QUEUE = "cpu"  # Its nodes do for every engine what needs no GPU: prepare, assemble, upload.


def enter_state(render: Render, state: State, *, is_new: bool = False, **changes: Any) -> None:
    """Write a state, with what changes together with it, and send `render_changed` once.

    Every change of a state passes here, in the caller's transaction. A new render is inserted, any other one is updated
    and read again. changes: other fields of a render that is not new, as values or database expressions.
    """
    if is_new:
        render.state = state
        render.save(force_insert=True)
    else:
        Render.objects.filter(pk=render.pk).update(state=state, **changes)
        render.refresh_from_db()
        progress.moved_on(render)
    render_changed.send(sender=Render, render=render, is_new=is_new)


@transaction.atomic
def claim_next(queue_name: str, node: Node, *, without_engines: Collection[str] = ()) -> Claim | None:
    """Take the render of the queue whose turn it is for this node, with a lease; None if there is none for it."""
    if Node.objects.filter(Q(draining=True) | nodes.RESTS, pk=node.pk).exists():
        tickets.top_up(queue_name)  # The ticket that led here is used up, and another node may take the render.
        return None
    render = selection.lock_next(queue_name, node, without_engines=without_engines)
    if render is None:
        return None
    claim = Claim(render.pk, render.attempt + 1)
    Attempt.objects.create(render=render, number=claim.attempt, node=node)
    enter_state(
        render,
        State.RUNNING,
        attempt=claim.attempt,
        node=node,
        lease_until=lease_end(),
        heartbeat_at=Now(),
        started_at=Coalesce("started_at", Now()),
    )
    return claim


def hand_over(claim: Claim, queue_name: str, phase: Phase) -> None:
    """Queue the render for a node of another queue: this node has done its part."""
    with fence(claim) as render:
        queue_here = render.queue
        requeue(claim, render, Attempt.Outcome.HANDED_OVER, queue=queue_name, phase=phase)
        tickets.top_up(queue_here)  # One render less of the tenant runs, so another one may start here.


def hand_back(claim: Claim) -> None:
    """Queue the render again because this node drains. Another one goes on from the last segment; no crash counts."""
    with fence(claim) as render:
        requeue(claim, render, Attempt.Outcome.YIELDED)


def hand_back_for_fault(claim: Claim, fault: str, *, trace: str, variant: str = "") -> None:
    """Queue the render again because of a fault of this node, which takes no work for a while. No failure is counted.

    After the first fault another node may take the render at once. After each further one it waits longer, because a
    render that is too large for every node would otherwise keep all of them from other work.
    variant: of the model, if only its files are bad here. The node then goes on with other variants.
    """
    with fence(claim) as render:
        if render.node_id is not None and not variant:  # The node's row may have been deleted.
            nodes.rest(render.node_id, fault)
        times = render.attempts.filter(outcome=Attempt.Outcome.NODE_FAULT).count() + 1
        Render.objects.filter(pk=render.pk).update(error_trace=trace, variant=variant or render.variant)
        requeue(claim, render, Attempt.Outcome.NODE_FAULT, delay=nth(settings.NODE_FAULT_DELAYS, times))


def finish(claim: Claim, *, video_key: str, poster_key: str, duration_seconds: float, alpha_key: str = "") -> None:
    """Charge the rendered seconds and end the render, both in one transaction.

    Raises Fenced, CancelRequested, ServiceError `deadline_exceeded`, or WrongSegments when what is recorded is not what
    was planned.
    """
    with fence(claim) as render:
        if render.cancel_requested_at is not None:
            raise CancelRequested
        deadlines.require_kept(render)
        num_frames = require_planned_segments(render)
        quota.settle(render.pk, seconds=ceil(num_frames / FPS), **_spent(render))
        end_attempt(claim, Attempt.Outcome.DONE)
        enter_state(
            render,
            State.FINISHED,
            progress=100,
            video_key=video_key,
            poster_key=poster_key,
            alpha_key=alpha_key,
            duration_seconds=duration_seconds,
            lease_until=None,
            completed_at=Now(),
        )
        _offer_place(render)


def fail(claim: Claim, error: ServiceError, *, trace: str = "") -> None:
    """Fail permanently: a retry cannot help."""
    with fence(claim) as render:
        end_attempt(claim, Attempt.Outcome.FAILED)
        close(render, State.FAILED, error, trace=trace)


def fail_overdue(claim: Claim) -> bool:
    """Fail a running render that has missed a deadline. Returns whether it had: it may have begun just in time."""
    with fence(claim) as render:
        error = deadlines.missed(render)
        if error is not None:
            end_attempt(claim, Attempt.Outcome.FAILED)
            close(render, State.FAILED, error)
        return error is not None


@transaction.atomic
def fail_waiting(render: Render, error: ServiceError, *, trace: str) -> None:
    """Fail a queued render that no node can render. Does nothing if it was claimed or has ended meanwhile."""
    render = Render.objects.select_for_update(of=("self",), no_key=True).get(pk=render.pk)
    if render.state == State.QUEUED:
        close(render, State.FAILED, error, trace=trace)


@transaction.atomic
def request_cancel(render: Render) -> Render:
    """Cancel a queued render at once, and ask the worker of a running one to stop. Returns the render as it is then.

    Raises ServiceError `invalid_state` for a finished or failed render. Of a canceled one nothing changes.
    """
    render = Render.objects.select_for_update(of=("self",), no_key=True).get(pk=render.pk)
    if render.state == State.QUEUED:
        close(render, State.CANCELED, canceled())
    elif render.state == State.RUNNING:
        Render.objects.filter(pk=render.pk, cancel_requested_at=None).update(cancel_requested_at=Now())
        render.refresh_from_db()
        progress.moved_on(render)
    elif render.state != State.CANCELED:
        raise ServiceError(
            "invalid_state", f"The render has ended already ({render.state}); there is nothing to cancel."
        )
    return render


def cancel(claim: Claim) -> None:
    """End a running render whose cancel was requested; nothing is charged."""
    with fence(claim) as render:
        end_attempt(claim, Attempt.Outcome.CANCELED)
        close(render, State.CANCELED, canceled())


def requeue(claim: Claim, render: Render, outcome: Attempt.Outcome, *, delay: float = 0, **changes: Any) -> None:
    """End the attempt and queue the render again, for `delay` seconds from now.

    If a cancel was requested, or a deadline was missed, it ends instead.
    """
    if render.cancel_requested_at is not None:  # No node claims a render whose cancel was requested.
        end_attempt(claim, Attempt.Outcome.CANCELED)
        close(render, State.CANCELED, canceled())
        return
    end_attempt(claim, outcome)
    error = deadlines.missed(render)
    if error is not None:
        close(render, State.FAILED, error)
        return
    enter_state(render, State.QUEUED, lease_until=None, not_before=Now() + timedelta(seconds=delay), **changes)
    tickets.add_ticket(render.queue)


def close(render: Render, state: State, error: ServiceError, *, trace: str = "") -> None:
    """End the render as failed or canceled. Its hold is released: nothing is charged."""
    quota.release(render.pk, **_spent(render))
    enter_state(
        render,
        state,
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
    """One render less of the tenant runs, so another one may start, in any queue: make sure of the tickets."""
    queues = {render.queue}
    if render.engine in registry.names():  # The engine may no longer be installed.
        queues.add(registry.queue_of(render.engine))
    for name in queues:
        tickets.top_up(name)


def end_attempt(claim: Claim, outcome: Attempt.Outcome) -> None:
    """Record how the claim's attempt ended, and when."""
    Attempt.objects.filter(render=claim.render_id, number=claim.attempt).update(outcome=outcome, ended_at=Now())


def _spent(render: Render) -> dict[str, Any]:
    """The seconds spent in the engine, and what a node of the engine's queue costs for so long."""
    seconds: float = render.attempts.aggregate(total=Coalesce(Sum("render_seconds"), 0.0))["total"]
    queue_name = registry.queue_of(render.engine) if render.engine in registry.names() else render.queue
    per_hour: int = settings.NODE_COST_MICROS_PER_HOUR.get(queue_name, 0)
    return {"gpu_seconds": seconds, "cost_micros": round(seconds * per_hour / 3600)}


def nth(delays: Sequence[float], times: int) -> float:
    """The delay in seconds after the nth time; the last one stands for all further times."""
    return delays[min(times, len(delays)) - 1]


def canceled() -> ServiceError:
    """The error of every canceled render."""
    return ServiceError("canceled", "The render was canceled.")
