"""Where a render stands and how long it may still take. Estimates only: nothing decides by them.

However many renders are asked about, the number of queries stays the same.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from render.estimates.queue_snapshot import Picture, Place, is_foreseeable, look, seconds_left
from render.models import FINISHING, Render, State


class WaitingReason(StrEnum):
    NEXT = "next"
    BEHIND_OTHERS = "behind_others"
    CONCURRENCY_LIMIT = "concurrency_limit"
    NO_WORKER = "no_worker"
    RETRY_DELAY = "retry_delay"
    NODE_FAULT = "node_fault"  # Each machine that could take it has a fault of its own, such as a full disk.


@dataclass(frozen=True)
class Estimate:
    queue_position: int | None = None  # 1: the next one
    waiting_reason: WaitingReason | None = None
    eta_seconds: int | None = None  # until it is finished
    poll_after_seconds: int | None = None  # None: nothing will change any more


def estimate(renders: Iterable[Render], picture: Picture | None = None) -> dict[uuid.UUID, Estimate]:
    """picture: from before these renders were made, for those that will not stay; None: the common one, as of now."""
    estimates: dict[uuid.UUID, Estimate] = {}
    active = []
    for render in renders:
        estimates[render.pk] = Estimate() if render.is_terminal else Estimate(poll_after_seconds=_poll_after(None))
        if not render.is_terminal:
            active.append(render)
    if not active:
        return estimates

    picture = picture or look()
    for render in active:
        if render.state == State.RUNNING and is_foreseeable(render):
            left = ceil(seconds_left(render, picture.paces))
            estimates[render.pk] = Estimate(eta_seconds=left, poll_after_seconds=_poll_after(left))

    queued = [render for render in active if render.state == State.QUEUED]
    for render in queued:
        place = picture.places[render.pk] if picture.shows(render) else picture.place_of_new(render)
        estimates[render.pk] = _of_queued(render, place, picture)
    return estimates


def _of_queued(render: Render, place: Place, picture: Picture) -> Estimate:
    if render.queue in picture.faulty:
        reason = WaitingReason.NODE_FAULT
    elif place.delayed:
        reason = WaitingReason.RETRY_DELAY
    elif render.queue in picture.abandoned:
        reason = WaitingReason.NO_WORKER
    elif render.phase not in FINISHING and place.is_at_limit(picture.running_of_tenant[render.tenant_id]):
        reason = WaitingReason.CONCURRENCY_LIMIT
    else:
        reason = WaitingReason.NEXT if place.rank == 1 else WaitingReason.BEHIND_OTHERS
    eta = None
    if is_foreseeable(render) and reason not in (WaitingReason.NO_WORKER, WaitingReason.NODE_FAULT):
        own = seconds_left(render, picture.paces)
        workers = picture.at_work[render.queue]
        eta = ceil((sum(workers) + place.work_until - own) / max(len(workers), 1) + own)
    return Estimate(place.rank, reason, eta, _poll_after(eta))


def _poll_after(eta_seconds: int | None) -> int:
    """Often enough to see the end soon, seldom enough for a render of an hour."""
    return 5 if eta_seconds is None else min(max(eta_seconds // 10, 1), 15)
