"""The interface of an engine: it turns normalised files and parameters into segments of frames.

An engine is deterministic: the same inputs, parameters and seed give the same frames on every node, whether a render
ran through or was resumed from a checkpoint. The runner relies on this when it resumes a render after a crash.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from render.frame.boxes import Box, Crop, PixelBox
from render.frame.shot import Shot
from render.parameters import Parameters

if TYPE_CHECKING:
    # Every process imports this module, also those that handle no frame.
    import numpy as np
    from numpy.typing import NDArray

FPS = 25  # InfiniteTalk's frame rate; the draft has the same, so that both have the same number of frames.


@dataclass(frozen=True)
class RenderInputs:
    """Local files, already checked and normalised by `render.media`. Exactly one of `portrait` and `video` is set."""

    portrait: Path | None  # upright RGB PNG
    video: Path | None  # H.264 mp4 at FPS, upright, without sound
    # One for each voice, in the order of the request: WAV, 16 kHz mono s16, each as long as the whole video.
    voices: tuple[Path, ...]
    prompt: str


@dataclass(frozen=True)
class FrameRange:
    """A range of the video's frames, which are counted from 0."""

    start: int  # first frame
    stop: int  # one past the last frame


@dataclass(frozen=True)
class RenderPlan:
    """What a render will give: the size of its frames and its segments."""

    width: int  # pixels, even
    height: int  # pixels, even
    num_frames: int
    segments: tuple[FrameRange, ...]  # cover range(num_frames) without gap or overlap
    variant: str = ""  # of the model, for an engine whose nodes may lack the files of some variants; else empty
    crop: Crop | None = None  # the part of the source that is shown; None: its middle
    faces: tuple[Box, ...] = ()  # of the frame, by voice: those that the customer has chosen; empty: the widest
    # By speaker, in pixels of the part of the source that is shown: what of it moves with a voice, and for a speaker
    # without a voice what keeps still. Empty: the only person speaks, or two have one half each.
    regions: tuple[tuple[PixelBox, ...], ...] = ()
    mark: Box | None = None  # the part of each frame that says how it was made: opaque also without a background


@dataclass(frozen=True)
class Checkpoint:
    """The point from which a render can be resumed, on any node."""

    next_segment: int  # index of the first segment that is not rendered yet
    state: bytes | None = None  # the engine's own data besides its inputs; only the engine reads it


@dataclass(frozen=True)
class RenderedSegment:
    index: int
    frames: "NDArray[np.uint8]"  # T x H x W x 3, RGB
    checkpoint: Checkpoint  # to resume after this segment


class RenderLease(Protocol):
    """The right to go on with a render. It may be lost at any time, by a cancel or because it has expired."""

    @property
    def render_id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """The fencing token, which grows with each claim of the render."""

    def check(self) -> None:
        """Raise the error that ends the attempt if the lease is lost. Cheap: to be called about once a second."""

    def seconds_left(self) -> float:
        """After so many seconds the lease expires, unless it is renewed."""

    def report(self, rendered: float) -> None:
        """Report the progress within a segment. rendered: the share of the whole video, from 0 to 1."""


@dataclass(frozen=True)
class EngineStatus:
    """The state of an engine on this node."""

    available: bool
    model_state: str = ""  # loading, ready, busy, down; empty for an engine without a model server
    gpu: str = ""
    memory_plan: str = ""
    unloadable: Mapping[str, str] = field(default_factory=dict)  # variant -> why it cannot be loaded here


class Engine(Protocol):
    name: str
    min_audio_seconds: float  # a shorter voice is refused with `audio_too_short`

    def status(self) -> EngineStatus:
        """Called before a render is claimed, so it must be quick."""

    def pixels(self, resolution: str) -> int:
        """About how many pixels a frame has."""

    def plan(self, inputs: RenderInputs, parameters: Parameters, shot: Shot) -> RenderPlan:
        """The segments, without rendering, for frames of the shot's size. Raises ServiceError for inputs that the
        engine cannot use, such as `no_face` (see `render.engines.no_face`).
        """

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        """Yield the segments in order, from `resume.next_segment` on, or from the first. (Every engine repeats this
        signature, and only that.)

        Raises what `lease.check` raises, NodeFault, or ServiceError.
        """
