"""The video of the person alone, made from the finished segments when a project asks for it."""

from collections.abc import Sequence
from pathlib import Path

from render.engines.base import RenderPlan
from render.frame.background.alpha_video import write_alpha_video
from render.frame.size import upscaled_size
from render.lifecycle.lease import Lease
from render.parameters import Parameters


def cut_out(
    segments: Sequence[Path],
    sound: Sequence[tuple[Path, float]],
    plan: RenderPlan,
    parameters: Parameters,
    destination_webm: Path,
    lease: Lease,
) -> bool:
    """Write a WebM with alpha. Returns False, and writes nothing, when no person is found. Raises as `lease.check`."""
    height, width = upscaled_size((plan.height, plan.width), parameters)
    opaque = None if plan.mark is None else plan.mark.in_pixels(height, width)

    def on_progress(share: float) -> None:
        lease.check()
        lease.moved_on()

    return write_alpha_video(segments, sound, plan.num_frames, destination_webm, opaque=opaque, on_progress=on_progress)
