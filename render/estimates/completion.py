"""The place, the reason for waiting and the seconds left of renders, as the API shows them.

The number of statements does not grow with the number of renders.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from render.estimates import queue_snapshot
from render.estimates.queue_snapshot import Place, QueueSnapshot, is_foreseeable, seconds_left
from render.models import FINISHING, Render, State


class WaitingReason(StrEnum):
    """Why a queued render does not run yet."""

    NEXT = "next"
    BEHIND_OTHERS = "behind_others"
    CONCURRENCY_LIMIT = "concurrency_limit"
    NO_WORKER = "no_worker"
    RETRY_DELAY = "retry_delay"
    NODE_FAULT = "node_fault"  # Each machine that could take it has a fault of its own, such as a full disk.


@dataclass(frozen=True)
class Estimate:
    """None where nothing is known, or nothing applies."""

    queue_position: int | None = None  # 1: the next one.
    waiting_reason: WaitingReason | None = None
    start_seconds: int | None = None  # Until a queued render begins.
    eta_seconds: int | None = None  # Until the render is finished.
    poll_after_seconds: int | None = None  # None: the render has ended.


def estimate(renders: Iterable[Render], snapshot: QueueSnapshot | None = None) -> dict[uuid.UUID, Estimate]:
    """The estimates by the renders' ids.

    snapshot: None for the current one. A dry run gives one that was read before it made its render, which will not
    stay: the current one is shared, and would show that render to others.
    """
    estimates: dict[uuid.UUID, Estimate] = {}
    active = []
    for render in renders:
        if render.is_terminal:
            estimates[render.pk] = Estimate()
        else:
            estimates[render.pk] = Estimate(poll_after_seconds=_poll_after(None))
            active.append(render)
    if not active:
        return estimates

    snapshot = snapshot or queue_snapshot.current()
    for render in active:
        if render.state == State.QUEUED:
            estimates[render.pk] = _of_queued(render, snapshot.place_of(render), snapshot)
        elif is_foreseeable(render, snapshot.paces):
            left = ceil(seconds_left(render, snapshot.paces))
            estimates[render.pk] = Estimate(eta_seconds=left, poll_after_seconds=_poll_after(left))
    return estimates


def _of_queued(render: Render, place: Place, snapshot: QueueSnapshot) -> Estimate:
    if render.queue in snapshot.faulty:
        reason = WaitingReason.NODE_FAULT
    elif place.delayed:
        reason = WaitingReason.RETRY_DELAY
    elif render.queue in snapshot.abandoned:
        reason = WaitingReason.NO_WORKER
    elif render.phase not in FINISHING and place.is_at_limit(snapshot.running_of_tenant[render.tenant_id]):
        reason = WaitingReason.CONCURRENCY_LIMIT
    else:
        reason = WaitingReason.NEXT if place.rank == 1 else WaitingReason.BEHIND_OTHERS
    start = eta = None
    if is_foreseeable(render, snapshot.paces) and reason not in (WaitingReason.NO_WORKER, WaitingReason.NODE_FAULT):
        own = seconds_left(render, snapshot.paces)
        workers = snapshot.at_work[render.queue]
        wait = (sum(workers) + place.work_until - own) / max(len(workers), 1)
        start, eta = ceil(wait), ceil(wait + own)
    return Estimate(place.rank, reason, start, eta, _poll_after(eta))


def _poll_after(eta_seconds: int | None) -> int:
    """Seconds between two polls: often enough to see the end soon, seldom enough for a render of an hour."""
    return 5 if eta_seconds is None else min(max(eta_seconds // 10, 1), 15)
