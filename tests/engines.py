"""Engines that cost nothing, for tests of everything around an engine."""

import time
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np

from infinitetalk.buckets import CHUNK_FRAMES, MOTION_FRAMES
from render.engines.base import (
    FPS,
    Checkpoint,
    EngineStatus,
    FrameRange,
    RenderedSegment,
    RenderInputs,
    RenderLease,
    RenderPlan,
)
from render.frame.shot import Shot
from render.parameters import Parameters


class FreeLease:
    """What an engine is given when nobody will ever take the render from it."""

    render_id = UUID(int=0)
    attempt = 1

    def check(self) -> None:
        pass

    def seconds_left(self) -> float:
        return 60.0

    def report(self, rendered: float) -> None:
        pass


class InstantEngine:
    """Grey frames that count: each segment a little lighter than the one before."""

    name = "instant"
    min_audio_seconds = 0.5
    seconds_per_segment = 0.0
    frames_per_segment = 25

    def status(self) -> EngineStatus:
        return EngineStatus(available=True)

    def pixels(self, resolution: str) -> int:
        return 640 * 640  # As the real ones, so that the same warnings come.

    def plan(self, inputs: RenderInputs, parameters: Parameters, shot: Shot) -> RenderPlan:
        with wave.open(str(inputs.voices[0])) as voice:
            seconds = voice.getnframes() / voice.getframerate()
        num_frames = parameters.frame_num or max(1, round(seconds * FPS))
        length = self.frames_per_segment
        ranges = tuple(FrameRange(start, min(start + length, num_frames)) for start in range(0, num_frames, length))
        return RenderPlan(width=64, height=48, num_frames=num_frames, segments=ranges)

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        for index in range(resume.next_segment if resume else 0, len(plan.segments)):
            self.wait(index, inputs, lease)
            span = plan.segments[index]
            frames = np.full((span.stop - span.start, plan.height, plan.width, 3), 20 + index, dtype=np.uint8)
            yield RenderedSegment(index, frames, Checkpoint(next_segment=index + 1))

    def wait(self, index: int, inputs: RenderInputs, lease: RenderLease) -> None:
        """Called before each segment is made."""
        time.sleep(self.seconds_per_segment)


class SlowEngine(InstantEngine):
    """Slow enough to be canceled or killed in the middle."""

    name = "slow"
    seconds_per_segment = 0.5


class HeldEngine(InstantEngine):
    """It waits before each segment until `let_go_on` lets it: it is in the middle for as long as a test wants it."""

    name = "held"

    def wait(self, index: int, inputs: RenderInputs, lease: RenderLease) -> None:
        allowed = Path(inputs.prompt)
        while not allowed.is_file() or allowed.stat().st_size <= index:
            lease.check()
            time.sleep(0.05)


def let_go_on(allowed: Path, segments: int = 1000) -> None:
    """allowed: the file that the prompt of a held render names. segments: as many as it may render in all."""
    allowed.write_bytes(bytes(segments))


class StatefulEngine(InstantEngine):
    """Each segment is made from what the one before left, as the motion frames of a real model are."""

    name = "stateful"

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        level = resume.state[0] if resume and resume.state else parameters.seed % 100
        for index in range(resume.next_segment if resume else 0, len(plan.segments)):
            level = (level * 7 + 11) % 256
            span = plan.segments[index]
            frames = np.full((span.stop - span.start, plan.height, plan.width, 3), level, dtype=np.uint8)
            yield RenderedSegment(index, frames, Checkpoint(next_segment=index + 1, state=bytes([level])))


class ChunkedEngine(StatefulEngine):
    """Its segments are as long as InfiniteTalk's, and cost nothing."""

    name = "chunked"
    frames_per_segment = 72


class PacedEngine(StatefulEngine):
    """As slow as a GPU, see docs/benchmarks.md, where a minute takes a second. The prompt names a file, in which it
    writes down what it renders: attempt and index, before it does.
    """

    name = "paced"
    seconds_per_second = 7.6 / 60

    def plan(self, inputs: RenderInputs, parameters: Parameters, shot: Shot) -> RenderPlan:
        plan = super().plan(inputs, parameters, shot)
        stops = [*range(CHUNK_FRAMES, plan.num_frames, CHUNK_FRAMES - MOTION_FRAMES), plan.num_frames]
        return replace(plan, segments=tuple(map(FrameRange, [0, *stops[:-1]], stops)))

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        checkpoint = resume
        for span in plan.segments[resume.next_segment if resume else 0 :]:
            index = checkpoint.next_segment if checkpoint else 0
            with Path(inputs.prompt).open("a") as history:  # One write of one line: whole, whoever else writes.
                history.write(f"{lease.attempt} {index}\n")
            time.sleep((span.stop - span.start) / FPS * self.seconds_per_second)
            segment = next(super().segments(inputs, parameters, plan, checkpoint, lease))
            checkpoint = segment.checkpoint
            yield segment
