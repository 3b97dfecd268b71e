"""The draft engine: renders a portrait or a video with one voice for each speaker, on a CPU and within seconds.

A draft shows timing and framing before the final render is paid for: its frames have the same number and size.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
from render.engines.draft.draft_mark import DraftMark
from render.engines.draft.dubbed_video import DubbedVideo, SourceFrames, check_faces
from render.engines.draft.talking_portrait import TalkingPortrait
from render.engines.draft.voice_features import speech_track, voice_seconds
from render.engines.faces import Face, FaceFinder, RgbImage
from render.engines.speaking_faces import speaking_faces
from render.frame.boxes import Box, Crop
from render.frame.fit import fit
from render.frame.shot import Shot
from render.frame.size import usual_pixels
from render.parameters import Parameters

SEGMENT_FRAMES = 2 * FPS
THREADS = 2  # OpenCV and numpy release the interpreter's lock for most of a frame


class DraftEngine:
    name = "draft"
    min_audio_seconds = 0.5

    def status(self) -> EngineStatus:
        return EngineStatus(available=True)

    def pixels(self, resolution: str) -> int:
        return usual_pixels(resolution)

    def plan(self, inputs: RenderInputs, parameters: Parameters, shot: Shot) -> RenderPlan:
        """Raises ServiceError `no_face` or `face_cropped` when the source lacks a face for each voice."""
        height, width = shot.size
        boxes = shot.faces_in_frame
        if inputs.video is not None:
            check_faces(SourceFrames(inputs.video, height, width, shot.crop), len(inputs.voices), boxes)
        else:
            _faces(_portrait(inputs, height, width, shot.crop), len(inputs.voices), boxes)
        num_frames = parameters.frame_num or max(1, round(voice_seconds(inputs.voices[0]) * FPS))
        starts = range(0, num_frames, SEGMENT_FRAMES)
        segments = tuple(FrameRange(start, min(start + SEGMENT_FRAMES, num_frames)) for start in starts)
        return RenderPlan(
            width=width,
            height=height,
            num_frames=num_frames,
            segments=segments,
            crop=shot.crop,
            faces=boxes,
            mark=DraftMark(height, width).box_shares,
        )

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        """Yield the segments in order. A checkpoint holds no state: every frame depends on its index alone."""
        first = resume.next_segment if resume else 0
        remaining = plan.segments[first:]
        if not remaining:
            return
        drawing = _Drawing(_frame_source(inputs, parameters, plan), plan)
        with ThreadPoolExecutor(THREADS) as pool:
            ahead = drawing.start(pool, remaining[0])
            for offset in range(len(remaining)):
                frames, futures = ahead
                for future in futures:
                    future.result()
                if offset + 1 < len(remaining):  # drawn while the caller encodes this one
                    ahead = drawing.start(pool, remaining[offset + 1])
                yield RenderedSegment(first + offset, frames, Checkpoint(first + offset + 1))


class _FrameSource(Protocol):
    def load(self, indices: Sequence[int]) -> dict[int, RgbImage]:
        """The source frames from which `frame` draws these indices."""

    def frame(self, index: int, source_frames: dict[int, RgbImage]) -> RgbImage:
        """May be called by several threads at once."""


class _Drawing:
    """Draws segments: the frames of a source, with the mark of a draft."""

    def __init__(self, source: _FrameSource, plan: RenderPlan) -> None:
        self._source = source
        self._height, self._width = plan.height, plan.width
        self._mark = DraftMark(plan.height, plan.width)

    def start(self, pool: ThreadPoolExecutor, segment: FrameRange) -> tuple[NDArray[np.uint8], list["Future[None]"]]:
        """The frames, which are complete when all futures are done."""
        indices = range(segment.start, segment.stop)
        frames = np.empty((len(indices), self._height, self._width, 3), np.uint8)
        source_frames = self._source.load(indices)
        futures = [
            pool.submit(self._draw, frame, index, source_frames) for frame, index in zip(frames, indices, strict=True)
        ]
        return frames, futures

    def _draw(self, frame: RgbImage, index: int, source_frames: dict[int, RgbImage]) -> None:
        frame[:] = self._source.frame(index, source_frames)
        self._mark.draw(frame)


def _frame_source(inputs: RenderInputs, parameters: Parameters, plan: RenderPlan) -> _FrameSource:
    speeches = [speech_track(voice, plan.num_frames) for voice in inputs.voices]
    if inputs.video is not None:
        source = SourceFrames(inputs.video, plan.height, plan.width, plan.crop)
        return DubbedVideo(source, speeches, plan.num_frames, plan.faces, parameters.video_end)
    image = _portrait(inputs, plan.height, plan.width, plan.crop)
    talking, others = _faces(image, len(speeches), plan.faces)
    return TalkingPortrait(image, talking, others, speeches, parameters.seed)


def _faces(image: RgbImage, count: int, boxes: Sequence[Box]) -> tuple[list[Face], list[Face]]:
    """The faces that speak, by voice, and those that keep still. boxes: as `RenderPlan.faces`."""
    found = FaceFinder().find_all(image)
    talking = speaking_faces(found, count, boxes, image)
    return talking, [face for face in found if not any(face is other for other in talking)]


def _portrait(inputs: RenderInputs, height: int, width: int, crop: Crop | None) -> RgbImage:
    assert inputs.portrait is not None, "exactly one of portrait and video is set"
    with Image.open(inputs.portrait) as image:
        return np.ascontiguousarray(fit(np.asarray(image.convert("RGB")), height, width, crop))
