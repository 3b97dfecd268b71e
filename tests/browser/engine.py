import time
from collections.abc import Iterator
from pathlib import Path

from render.engines.base import Checkpoint, RenderedSegment, RenderInputs, RenderLease, RenderPlan
from render.parameters import Parameters
from tests.engines import InstantEngine

HELD_AT = 2  # this segment and the later ones wait
PATIENCE_SECONDS = 120


class HeldEngine(InstantEngine):
    """It comes to a halt in the middle, until the file is there that the prompt names."""

    name = "held"

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        for segment in super().segments(inputs, parameters, plan, resume, lease):
            deadline = time.monotonic() + PATIENCE_SECONDS
            while segment.index >= HELD_AT and not Path(inputs.prompt).exists():
                if time.monotonic() > deadline:
                    raise TimeoutError("nobody let the render go on")
                time.sleep(0.1)
            yield segment
