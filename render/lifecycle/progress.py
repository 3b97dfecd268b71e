"""What a worker writes down while it holds a render.

The state stays `running`; `render.lifecycle.transitions` changes states.
"""

from collections.abc import Mapping, Sequence
from math import ceil

from django.db.models import F

from accounts.billing import quota
from render.engines.base import FPS
from render.fence import CancelRequested, Claim, fence
from render.models import Attempt, Phase, Render, Segment
from render.queue import tickets
from render.signals import render_prepared
from render.sources import SourceWarning

# Share of the progress bar, in percent, that is filled when the phase ends.
PREPARED, RENDERED, ASSEMBLED, UPLOADED = 5, 90, 93, 99


def of_rendering(rendered: float) -> int:
    """rendered: from 0 to 1, of the whole film. In percent of the progress bar."""
    return PREPARED + int((RENDERED - PREPARED) * rendered)


def of_uploading(uploaded: float) -> int:
    """uploaded: from 0 to 1, of the film. In percent of the progress bar."""
    return ASSEMBLED + int((UPLOADED - ASSEMBLED) * uploaded)


def enter(claim: Claim, phase: Phase, *, progress: int) -> None:
    with fence(claim):
        Render.objects.filter(pk=claim.render_id).update(phase=phase, progress=progress)


def prepared(
    claim: Claim,
    *,
    sources: Mapping[str, object],
    plan: Mapping[str, object],
    num_frames: int,
    segments_total: int,
    warnings: Sequence[SourceWarning] = (),
    variant: str = "",
) -> None:
    """Note what `prepare` found and set the hold to the true price. Raises ServiceError `quota_exceeded`."""
    with fence(claim) as render:
        quota.set_hold(claim.render_id, ceil(num_frames / FPS))
        Segment.objects.filter(render=render).delete()  # Of sources that were lost, as some of the segments may be.
        Render.objects.filter(pk=claim.render_id).update(
            sources=sources,
            warnings=list(warnings),
            plan=plan,
            variant=variant,
            num_frames=num_frames,
            segments_total=segments_total,
            phase=Phase.WAITING,
        )
        render.refresh_from_db()
        render_prepared.send(sender=Render, render=render)
        tickets.top_up(render.queue)  # The tenant may have another one prepared on this node.


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
    with fence(claim) as render:
        if render.cancel_requested_at is not None:
            raise CancelRequested
        if Segment.objects.filter(render=render, index=index, attempt=claim.attempt, key=key).exists():
            return  # By this same call, which did not hear of its commit.
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
