"""Quick engines for the campaign: segments of 60 ms, the same frames in every run; and some that misbehave."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from render.engines.base import Checkpoint, RenderedSegment, RenderInputs, RenderLease, RenderPlan
from render.parameters import Parameters
from tests.engines import StatefulEngine

FRAMES = 37  # 4n+1, as many as make eight segments


class BriefEngine(StatefulEngine):
    name = "brief"
    frames_per_segment = 5
    seconds_per_segment = 0.06

    def __init__(self, history: str) -> None:
        self._history = Path(history)

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        for segment in super().segments(inputs, parameters, plan, resume, lease):
            time.sleep(self.seconds_per_segment)
            lease.check()
            self.before(segment.index)
            with self._history.open("a") as history:  # One write of one line: whole, whoever else writes.
                history.write(f"{lease.render_id} {lease.attempt} {segment.index}\n")
            yield segment

    def before(self, index: int) -> None:
        pass


class PatientEngine(BriefEngine):
    """Its segments take as long as a real model's."""

    name = "patient"
    seconds_per_segment = 15


class PoisonEngine(BriefEngine):
    """Kills whoever renders it, in its third segment."""

    name = "poison"

    def before(self, index: int) -> None:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class FailingEngine(BriefEngine):
    """Has a bug, in its third segment."""

    name = "failing"

    def before(self, index: int) -> None:
        if index == 2:
            raise RuntimeError("This engine always fails.")


class HangingEngine(BriefEngine):
    """Never comes back from C code."""

    name = "hanging"

    def before(self, index: int) -> None:
        ctypes.CDLL(None).sleep(3600)
