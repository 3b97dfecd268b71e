"""What an engine is: normalised files and parameters in, segments of frames out.

An engine is deterministic: the same inputs, parameters and seed give the same frames on every node, whether a render
ran through or was resumed from a checkpoint. The runner relies on this when it renders on after a crash.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from render.parameters import Parameters

Crop = tuple[int, int, int, int]  # top, left, height, width: a part of the source, in its pixels
FPS = 25  # InfiniteTalk's frame rate; the draft keeps it, so that both have the same frames


@dataclass(frozen=True)
class RenderInputs:
    """Local files, already checked and normalised by `render.media`. Exactly one of `portrait` and `video` is set."""

    portrait: Path | None  # upright RGB PNG
    video: Path | None  # H.264 mp4 at FPS, upright, without sound
    voices: tuple[Path, ...]  # one per speaker, left to right: WAV, 16 kHz mono s16, all as long as the whole scene
    prompt: str


@dataclass(frozen=True)
class FrameRange:
    start: int  # first frame
    stop: int  # one past the last frame


@dataclass(frozen=True)
class Plan:
    width: int  # pixels, even
    height: int
    num_frames: int
    segments: tuple[FrameRange, ...]  # cover range(num_frames) without gap or overlap
    variant: str = ""  # of the model, for an engine whose nodes may lack some of its files
    crop: Crop | None = None  # what is shown of the source; None: its middle


@dataclass(frozen=True)
class Checkpoint:
    """From where a render goes on, also on another node."""

    next_segment: int
    state: bytes | None = None  # what the engine needs besides its inputs; opaque to the runner


@dataclass(frozen=True)
class RenderedSegment:
    index: int
    frames: NDArray[np.uint8]  # T x H x W x 3, RGB
    checkpoint: Checkpoint


class Hold(Protocol):
    """The right to go on with a render, which may be lost at any time: it was canceled, or the lease has run out."""

    @property
    def render_id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """The fencing token: it grows with each claim of the render."""

    def check(self) -> None:
        """Raises what ends the attempt, once the hold is lost. Cheap; an engine should call it each second or so."""

    def seconds_left(self) -> float:
        """How long the hold is good for if nobody renews it."""

    def report(self, rendered: float) -> None:
        """Say how far the engine is within a segment: from 0 to 1, of the whole film."""


@dataclass(frozen=True)
class EngineStatus:
    """What an engine has to say of itself on this node."""

    available: bool
    model_state: str = ""  # loading, ready, busy, down; empty for an engine without a model server
    gpu: str = ""
    memory_plan: str = ""
    unloadable: Mapping[str, str] = field(default_factory=dict)  # variant -> why it cannot be loaded here


class Engine(Protocol):
    name: str
    min_audio_seconds: float  # a shorter voice is refused with `audio_too_short`

    def status(self) -> EngineStatus:
        """Asked before a render is taken."""

    def plan(self, inputs: RenderInputs, parameters: Parameters) -> Plan:
        """Size and segments, without rendering. Raises ServiceError for inputs it cannot work with (`no_face`)."""

    def segments(
        self, inputs: RenderInputs, parameters: Parameters, plan: Plan, resume: Checkpoint | None, hold: Hold
    ) -> Iterator[RenderedSegment]:
        """Yield the segments in order, from `resume.next_segment` on."""
