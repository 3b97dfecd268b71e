"""What a worker records while it holds a render: phases, the prepared sources, segments.

The state stays `running`; `render.lifecycle.transitions` changes states.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from django.db.models import F
from django.db.models.functions import Coalesce, Now

from accounts.billing import quota
from render import deadlines
from render.engines.base import FPS
from render.fence import CancelRequested, Claim, fence
from render.models import Attempt, Phase, Render, Segment
from render.queue import tickets
from render.signals import render_moved_on, render_prepared
from render.sources import SourceWarning

# Progress in percent when the phase ends.
PREPARED, RENDERED, ASSEMBLED, UPLOADED = 5, 90, 93, 99


def of_rendering(rendered: float) -> int:
    """Progress in percent. rendered: share of the video, from 0 to 1."""
    return PREPARED + int((RENDERED - PREPARED) * rendered)


def of_uploading(uploaded: float) -> int:
    """Progress in percent. uploaded: share of the finished video, from 0 to 1."""
    return ASSEMBLED + int((UPLOADED - ASSEMBLED) * uploaded)


def moved_on(render: Render) -> None:
    """Tell the layers above, in the transaction of the change, that something which they show has changed."""
    render_moved_on.send(sender=Render, render=render)


def enter(claim: Claim, phase: Phase, *, progress: int) -> None:
    """Record that a phase begins, with the progress in percent. Raises Fenced, and ServiceError `deadline_exceeded`."""
    begun: dict[str, Any] = {"begun_at": Coalesce("begun_at", Now())} if phase == Phase.LOADING else {}
    with fence(claim) as render:
        deadlines.require_kept(render)
        Render.objects.filter(pk=claim.render_id).update(phase=phase, progress=progress, **begun)
        moved_on(render)


def warn(claim: Claim, warning: SourceWarning) -> None:
    """Add a warning that is found after the preparation, if it is not there already. Raises Fenced."""
    with fence(claim) as render:
        if warning not in render.warnings:
            Render.objects.filter(pk=claim.render_id).update(warnings=[*render.warnings, warning])
            moved_on(render)


def prepared(
    claim: Claim,
    *,
    sources: Mapping[str, object],
    plan: Mapping[str, object],
    num_frames: int,
    segments_total: int,
    frame: Mapping[str, object] | None = None,
    warnings: Sequence[SourceWarning] = (),
    variant: str = "",
    is_enlarged: bool = True,
) -> None:
    """Record the prepared sources and the plan, and set the hold to the video's true length.

    Raises Fenced, and ServiceError `quota_exceeded` or `spend_cap_reached`.
    """
    with fence(claim) as render:
        quota.set_hold(claim.render_id, ceil(num_frames / FPS), is_enlarged=is_enlarged)
        if not is_enlarged:  # A retry, which begins with what is recorded here, costs nothing for it either.
            Render.objects.filter(pk=render.pk).update(parameters={**render.parameters, "upscale": "none"})
        Segment.objects.filter(render=render).delete()  # Those of an earlier preparation whose files were lost.
        Render.objects.filter(pk=claim.render_id).update(
            sources=sources,
            warnings=list(warnings),
            plan=plan,
            frame=frame,
            variant=variant,
            num_frames=num_frames,
            segments_total=segments_total,
            phase=Phase.WAITING,
        )
        render.refresh_from_db()
        render_prepared.send(sender=Render, render=render)
        moved_on(render)
        tickets.top_up(render.queue)  # This node may now prepare another render of the tenant.


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
    """Record a stored segment. It is not rendered again, unless its length turns out to be wrong.

    progress: of the whole render, in percent. Raises Fenced, CancelRequested, or ServiceError `deadline_exceeded`.
    """
    with fence(claim) as render:
        if render.cancel_requested_at is not None:
            raise CancelRequested
        deadlines.require_kept(render)
        if Segment.objects.filter(render=render, index=index, attempt=claim.attempt, key=key).exists():
            return  # This is a second try: the first one was committed just before the connection broke.
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
        moved_on(render)
