"""The video of the person alone, made from the finished segments when a project asks for it."""

import logging
from functools import partial
from pathlib import Path

from render.fence import Claim
from render.frame.background.alpha_video import write_alpha_video
from render.frame.size import upscaled_size
from render.lifecycle import progress
from render.lifecycle.lease import Lease
from render.models import Render
from render.parameters import Parameters
from render.pipeline import segments
from render.pipeline.framed_source import no_person
from render.pipeline.local_inputs import fetch, plan_of, sound_of
from render.sources import SourceWarning
from render.storage import media
from render.storage.failures import StorageFailure

logger = logging.getLogger(__name__)


def add_transparent_video(claim: Claim, lease: Lease, render: Render, folder: Path) -> str:
    """Make and store a WebM with alpha; return its key.

    Without a person, or when the storage does not take it, the render gets a warning and the result is empty: the
    video itself is stored already. Raises what `lease.check` and `lease.check_draining` raise.
    """
    webm = folder / "video.webm"
    if not _cut_out(render, webm, lease, folder):
        progress.warn(claim, no_person("there is no transparent video"))
        return ""
    try:
        put = partial(media.store_video, report_share=lambda share: lease.moved_on())
        return segments.store(webm, render, claim, lease, put=put)
    except StorageFailure as failure:
        logger.error("Render %s: the transparent video is not stored: %s", claim.render_id, failure)
        detail = f"The media storage did not take the transparent video (reason: {failure.reason.value})."
        progress.warn(claim, SourceWarning(param="parameters.background", code="not_stored", detail=detail))
        return ""


def _cut_out(render: Render, webm: Path, lease: Lease, folder: Path) -> bool:
    """False when no person is found."""
    plan, parameters = plan_of(render), Parameters.resolve(render.parameters)
    files = [fetch(segment.key, folder, lease) for segment in render.segments.all()]
    height, width = upscaled_size((plan.height, plan.width), parameters)
    opaque = None if plan.mark is None else plan.mark.in_pixels(height, width)

    def on_progress(share: float) -> None:
        lease.check()
        lease.check_draining()
        lease.moved_on()

    sound = sound_of(render, folder, lease)
    return write_alpha_video(files, sound, plan.num_frames, webm, opaque=opaque, on_progress=on_progress)
