"""The only module that changes a render's state.

    queued -> running -> finished | failed | canceled        running -> queued (crashed, failed for now, handed on)

A worker writes only under its fencing token: `Render.attempt`, which grows with each claim. Whoever lost the lease
finds no row and gets `Fenced`. Money moves in the same transaction as the state.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Coalesce, Now

from accounts import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant
from render import queue
from render.engines import registry
from render.engines.base import FPS
from render.models import Attempt, Node, Phase, Render, Segment, State
from render.parameters import Parameters
from render.signals import render_changed

PREPARE_QUEUE = "cpu"


class Fenced(Exception):
    """The render is not ours any more: it was canceled, reaped, or ended by somebody else."""


class CancelRequested(Exception):
    """The customer wants the render to end."""


@dataclass(frozen=True)
class Claim:
    render_id: uuid.UUID
    attempt: int


@transaction.atomic
def enqueue(
    *,
    tenant: Tenant,
    api_key: ApiKey | None,
    engine: str,
    image_url: str,
    audio_url: str,
    audio_url_2: str = "",
    audio_order: str = "left_right",
    prompt: str = "",
    parameters: Parameters,
    priority: int = 0,
) -> Render:
    """Make a queued render, its hold and its ticket.

    Raises ServiceError `engine_unavailable`, `quota_exceeded`, `spend_cap_reached` or `queue_full`.
    """
    registry.require(engine)
    render_id = uuid.uuid4()
    quota.hold(tenant, render_id=render_id, api_key=api_key, engine=engine, resolution=parameters.resolution)
    # The hold has locked the tenant, so this count cannot be overtaken.
    if Render.objects.filter(tenant=tenant, state=State.QUEUED).count() >= tenant.plan.max_queued:
        raise ServiceError("queue_full", f"{tenant.plan.max_queued} renders are waiting already.")
    render = Render.objects.create(
        id=render_id,
        tenant=tenant,
        engine=engine,
        queue=PREPARE_QUEUE,
        priority=priority,
        image_url=image_url,
        audio_url=audio_url,
        audio_url_2=audio_url_2,
        audio_order=audio_order,
        prompt=prompt,
        parameters=parameters.as_json(),
    )
    queue.add_ticket(PREPARE_QUEUE)
    _announce(render)
    return render


@transaction.atomic
def claim_next(queue_name: str, node: Node) -> Claim | None:
    """Take the best render of the queue for this node, with a lease on it."""
    if Node.objects.filter(pk=node.pk, draining=True).exists():
        return None
    render = queue.lock_next(queue_name)
    if render is None:
        return None
    claim = Claim(render.pk, render.attempt + 1)
    Render.objects.filter(pk=render.pk).update(
        state=State.RUNNING,
        attempt=claim.attempt,
        node=node,
        lease_until=_lease_end(),
        heartbeat_at=Now(),
        started_at=Coalesce("started_at", Now()),
    )
    Attempt.objects.create(render=render, number=claim.attempt, node=node)
    _announce(render)
    return claim


def renew(claim: Claim) -> Render:
    """Renew the lease; return the row, to see what is asked of the worker. Raises Fenced.

    A late renewal is allowed as long as nobody has reaped: the token decides, not the clock.
    """
    renewed = _held(claim).update(lease_until=_lease_end(), heartbeat_at=Now())
    if not renewed:
        raise Fenced
    render = Render.objects.select_related("node").get(pk=claim.render_id)
    Node.objects.filter(renders=render).update(heartbeat_at=Now())
    return render


def enter(claim: Claim, phase: Phase, *, progress: int) -> None:
    with _fence(claim):
        Render.objects.filter(pk=claim.render_id).update(phase=phase, progress=progress)


def prepared(
    claim: Claim, *, sources: Mapping[str, object], plan: Mapping[str, object], num_frames: int, segments_total: int
) -> None:
    """Note what `prepare` found and set the hold to the true price. Raises ServiceError `quota_exceeded`."""
    with _fence(claim):
        quota.set_hold(claim.render_id, ceil(num_frames / FPS))
        Render.objects.filter(pk=claim.render_id).update(
            sources=sources, plan=plan, num_frames=num_frames, segments_total=segments_total, phase=Phase.WAITING
        )


def hand_over(claim: Claim, queue_name: str) -> None:
    """Prepared here, rendered on another queue's node."""
    with _fence(claim) as render:
        _requeue(claim, render, Attempt.Outcome.HANDED_OVER, queue=queue_name, phase=Phase.WAITING)


def hand_back(claim: Claim) -> None:
    """This node is draining: the render goes on elsewhere, from its last segment, and no crash is counted."""
    with _fence(claim) as render:
        _requeue(claim, render, Attempt.Outcome.YIELDED)


def record_segment(
    claim: Claim,
    *,
    index: int,
    key: str,
    num_bytes: int,
    frames: int,
    state_key: str,
    render_seconds: float,
    progress: int,
) -> None:
    """Record a stored segment, after which it is never rendered again. Raises Fenced or CancelRequested."""
    with _fence(claim) as render:
        if render.cancel_requested_at is not None:
            raise CancelRequested
        Segment.objects.create(
            render=render,
            index=index,
            attempt=claim.attempt,
            key=key,
            num_bytes=num_bytes,
            frames=frames,
            state_key=state_key,
        )
        Attempt.objects.filter(render=render, number=claim.attempt).update(
            render_seconds=F("render_seconds") + render_seconds
        )
        Render.objects.filter(pk=render.pk).update(phase=Phase.RENDERING, progress=progress)


def finish(claim: Claim, *, video_key: str, poster_key: str, duration_seconds: float) -> None:
    """Bill the measured output and end. Everything in one transaction, so that it happens once or not at all."""
    with _fence(claim) as render:
        segments = render.segments.all()
        frames = sum(segment.frames for segment in segments)
        if len(segments) != render.segments_total or frames != render.num_frames:
            raise RuntimeError(f"Render {render.pk} has {len(segments)} segments with {frames} frames")
        quota.settle(render.pk, seconds=ceil(frames / FPS), gpu_seconds=_render_seconds(render))
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
        queue.top_up(render.queue)


def fail(claim: Claim, error: ServiceError, *, trace: str = "") -> None:
    """End with an error that another try would not mend."""
    with _fence(claim) as render:
        _close(render, State.FAILED, error, trace=trace)
        _end_attempt(claim, Attempt.Outcome.FAILED)


def retry_later(claim: Claim, error: ServiceError, *, trace: str) -> None:
    """Try again after a while, or end with `error` once it has failed too often."""
    with _fence(claim) as render:
        failures = render.failures + 1
        Render.objects.filter(pk=render.pk).update(failures=failures, error_trace=trace)
        if failures >= settings.RENDER_MAX_FAILURES:
            _close(render, State.FAILED, error, trace=trace)
            _end_attempt(claim, Attempt.Outcome.FAILED)
        else:
            _requeue(claim, render, Attempt.Outcome.FAILED, delay=_retry_delay(failures))


@transaction.atomic
def request_cancel(render: Render) -> Render:
    """Cancel at once while it waits; ask its worker while it runs. Raises ServiceError `invalid_state` once ended."""
    render = Render.objects.select_for_update(of=("self",), no_key=True).get(pk=render.pk)
    if render.state == State.QUEUED:
        _close(render, State.CANCELED, _canceled())
    elif render.state == State.RUNNING:
        Render.objects.filter(pk=render.pk, cancel_requested_at=None).update(cancel_requested_at=Now())
    elif render.state != State.CANCELED:
        raise ServiceError("invalid_state", f"The render is {render.state}, it cannot be canceled.")
    _announce(render)
    return render


def cancel(claim: Claim) -> None:
    """End a running render because a cancel was asked: nothing is billed."""
    with _fence(claim) as render:
        _close(render, State.CANCELED, _canceled())
        _end_attempt(claim, Attempt.Outcome.CANCELED)


def reap(render: Render) -> None:
    """Take a locked, running render from a worker that no longer renews its lease."""
    claim = Claim(render.pk, render.attempt)
    crashes = render.crashes + 1
    Render.objects.filter(pk=render.pk).update(crashes=crashes)
    if render.cancel_requested_at is not None:
        _close(render, State.CANCELED, _canceled())
    elif crashes >= settings.RENDER_MAX_CRASHES:
        _close(render, State.FAILED, ServiceError("worker_lost", f"The worker was lost {crashes} times."))
    else:
        _requeue(claim, render, Attempt.Outcome.LEASE_LOST, delay=_retry_delay(crashes))
        _announce(render)
        return
    _end_attempt(claim, Attempt.Outcome.LEASE_LOST)
    _announce(render)


@contextmanager
def _fence(claim: Claim) -> Iterator[Render]:
    with transaction.atomic():
        render = _held(claim).select_for_update(of=("self",), no_key=True).first()
        if render is None:
            raise Fenced
        yield render
        _announce(render)


def _held(claim: Claim) -> QuerySet[Render]:
    return Render.objects.filter(pk=claim.render_id, attempt=claim.attempt, state=State.RUNNING)


def _requeue(claim: Claim, render: Render, outcome: Attempt.Outcome, *, delay: float = 0, **changes: object) -> None:
    Render.objects.filter(pk=render.pk).update(
        state=State.QUEUED, lease_until=None, not_before=Now() + timedelta(seconds=delay), **changes
    )
    _end_attempt(claim, outcome)
    render.refresh_from_db(fields=["queue"])
    queue.add_ticket(render.queue)


def _close(render: Render, state: State, error: ServiceError, *, trace: str = "") -> None:
    quota.release(render.pk, gpu_seconds=_render_seconds(render))
    Render.objects.filter(pk=render.pk).update(
        state=state,
        lease_until=None,
        completed_at=Now(),
        error_code=error.code,
        error_message=error.detail,
        error_param=error.param or "",
        error_trace=trace or F("error_trace"),
    )
    # A place under the tenant's limit is free again.
    queue.top_up(render.queue)


def _end_attempt(claim: Claim, outcome: Attempt.Outcome) -> None:
    Attempt.objects.filter(render=claim.render_id, number=claim.attempt).update(outcome=outcome, ended_at=Now())


def _render_seconds(render: Render) -> float:
    seconds: float = render.attempts.aggregate(total=Coalesce(Sum("render_seconds"), 0.0))["total"]
    return seconds


def _announce(render: Render) -> None:
    render.refresh_from_db()
    render_changed.send(sender=Render, render=render)


def _lease_end() -> object:
    return Now() + timedelta(seconds=settings.RENDER_LEASE_SECONDS)


def _retry_delay(times: int) -> float:
    delays = settings.RENDER_RETRY_DELAYS
    return delays[min(times, len(delays)) - 1]


def _canceled() -> ServiceError:
    return ServiceError("canceled", "The render was canceled.")
