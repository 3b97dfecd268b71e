"""How a render comes to be. What becomes of it then: `render.lifecycle.transitions`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, UsageEntry
from render.engines import registry
from render.engines.base import FPS
from render.lifecycle import progress
from render.lifecycle.transitions import COMMON_QUEUE, enter_state
from render.models import Phase, Render, Segment, State
from render.queue import tickets


@dataclass(frozen=True)
class Deadlines:
    """In seconds from the creation of a render; None: it has no such deadline. Checked in `render.deadlines`."""

    start_seconds: int | None = None
    total_seconds: int | None = None


NO_DEADLINES = Deadlines()


def submit(
    render: Render,
    *,
    api_key: ApiKey | None,
    is_test: bool,
    user_label: str = "",
    voice_seconds: float | None = None,
    continues: Render | None = None,
    deadlines: Deadlines = NO_DEADLINES,
) -> UsageEntry:
    """Save a new render as queued, with its hold and its ticket. Returns the hold. Needs a transaction of the caller's.

    render: not saved yet; its `parameters` are those of `Parameters.as_json`.
    api_key: None when staff have requested the render.
    voice_seconds: how long the voices last, if that is known; the hold then has the video's true length at once.
    continues: an ended render of the same inputs and parameters, whose prepared sources and segments are taken over.
    deadlines: counted from now, also if the render continues another one.

    Raises ServiceError `engine_unavailable`, `price_missing`, `quota_exceeded`, `spend_cap_reached` or `queue_full`.
    """
    registry.require(render.engine)
    num_frames = continues.num_frames if continues else render.parameters["frame_num"]
    seconds = num_frames / FPS if num_frames else voice_seconds
    hold = quota.hold(
        render.tenant,
        render_id=render.pk,
        api_key=api_key,
        is_test=is_test,
        engine=render.engine,
        resolution=render.parameters["resolution"],
        upscale=render.parameters.get("upscale", "none"),
        user_label=user_label,
        seconds=ceil(seconds) if seconds else quota.MINIMUM_HOLD_SECONDS,
    )
    # The hold has locked the tenant's row, so no other request can add a render between this count and the insert.
    most = render.tenant.plan.max_queued
    if Render.objects.filter(tenant=render.tenant, state=State.QUEUED).count() >= most:
        raise ServiceError("queue_full", f"{most} renders are waiting already.")
    render.queue = COMMON_QUEUE
    if deadlines.start_seconds is not None:
        render.start_deadline_at = hold.created_at + timedelta(seconds=deadlines.start_seconds)
    if deadlines.total_seconds is not None:
        render.total_deadline_at = hold.created_at + timedelta(seconds=deadlines.total_seconds)
    if continues is not None:
        _take_over(render, continues)
    enter_state(render, State.QUEUED, is_new=True)
    if continues is not None:
        Segment.objects.filter(render=continues).update(render=render, attempt=0)
    tickets.add_ticket(COMMON_QUEUE)
    return hold


def _take_over(render: Render, ended: Render) -> None:
    """Begin where the ended render stopped. Its segments are moved, not copied: each stored file has one row.

    `frame` was set by the caller (`_add_take` in `projects.services`).
    """
    for name in ("sources", "warnings", "plan", "num_frames", "segments_total", "variant"):
        setattr(render, name, getattr(ended, name))
    assert ended.segments_total is not None
    recorded = Segment.objects.filter(render=ended).count()
    render.phase = Phase.WAITING if recorded < ended.segments_total else Phase.ASSEMBLING
    render.progress = progress.of_rendering(recorded / ended.segments_total)


def ended_elsewhere(*, finished: bool, **fields: Any) -> Render:
    """A render that another service has made and ended, not saved yet; `fields` are those of Render."""
    return Render(state=State.FINISHED if finished else State.FAILED, phase=Phase.UPLOADING, **fields)


def add_ended(renders: Iterable[Render]) -> None:
    """Save renders of `ended_elsewhere`. Nothing is charged, and no `render_changed` is sent: nothing happened here."""
    Render.objects.bulk_create(renders)
