"""The draft: a portrait or a video and one voice per speaker become a person who talks, on a CPU and within seconds.

It is there to judge timing and framing before the model's render is paid for; it has the same frames of the same size.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.engines.base import (
    FPS,
    Checkpoint,
    Crop,
    EngineStatus,
    FrameRange,
    RenderedSegment,
    RenderInputs,
    RenderLease,
    RenderPlan,
)
from render.engines.draft.draft_mark import DraftMark
from render.engines.draft.dubbed_video import DubbedVideo, SourceVideo, check_faces
from render.engines.draft.talking_portrait import TalkingPortrait
from render.engines.draft.voice_features import speech_track, voice_seconds
from render.engines.faces import FaceFinder, Picture, talking_faces
from render.engines.frame_size import fit, frame_size, source_size
from render.engines.framing import crop_with_faces
from render.parameters import Parameters

SEGMENT_FRAMES = 2 * FPS
THREADS = 2  # OpenCV and numpy let go of the interpreter's lock for most of a frame


class DraftEngine:
    name = "draft"
    min_audio_seconds = 0.5

    def status(self) -> EngineStatus:
        return EngineStatus(available=True)

    def plan(self, inputs: RenderInputs, parameters: Parameters) -> RenderPlan:
        """Size and segments. Raises ServiceError `no_face` when the source lacks a face for each voice."""
        source_height, source_width = source_size(inputs)
        height, width = frame_size(source_height, source_width, parameters.resolution)
        crop = crop_with_faces(inputs, height, width)
        if inputs.video is not None:
            check_faces(SourceVideo(inputs.video, height, width, crop), len(inputs.voices))
        else:
            talking_faces(FaceFinder().find(_portrait(inputs, height, width, crop)), len(inputs.voices))
        num_frames = parameters.frame_num or max(1, round(voice_seconds(inputs.voices[0]) * FPS))
        starts = range(0, num_frames, SEGMENT_FRAMES)
        segments = tuple(FrameRange(start, min(start + SEGMENT_FRAMES, num_frames)) for start in starts)
        return RenderPlan(width=width, height=height, num_frames=num_frames, segments=segments, crop=crop)

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
        draw_frames = _frame_source(inputs, parameters, plan)
        mark = DraftMark(plan.height, plan.width)

        def begin(pool: ThreadPoolExecutor, segment: FrameRange) -> tuple[NDArray[np.uint8], Iterator[None]]:
            frames = np.empty((segment.stop - segment.start, plan.height, plan.width, 3), np.uint8)
            draw = draw_frames(segment)

            def render(offset: int) -> None:
                frames[offset] = draw(segment.start + offset)
                mark.draw(frames[offset])

            return frames, pool.map(render, range(len(frames)))

        with ThreadPoolExecutor(THREADS) as pool:
            # One segment ahead: it is drawn while the caller encodes the one before.
            ahead = [begin(pool, segment) for segment in plan.segments[first : first + 1]]
            for number in range(first, len(plan.segments)):
                frames, drawn = ahead.pop()
                deque(drawn, maxlen=0)
                ahead = [begin(pool, segment) for segment in plan.segments[number + 1 : number + 2]]
                yield RenderedSegment(number, frames, Checkpoint(number + 1))


def _frame_source(
    inputs: RenderInputs, parameters: Parameters, plan: RenderPlan
) -> Callable[[FrameRange], Callable[[int], Picture]]:
    """What makes a segment ready and returns the function that draws its frames."""
    speeches = [speech_track(voice, plan.num_frames) for voice in inputs.voices]
    if inputs.video is not None:
        video = DubbedVideo(SourceVideo(inputs.video, plan.height, plan.width, plan.crop), speeches, plan.num_frames)

        def dubbed(segment: FrameRange) -> Callable[[int], Picture]:
            filmed = video.read(range(segment.start, segment.stop))
            return lambda index: video.frame(index, filmed)

        return dubbed
    picture = _portrait(inputs, plan.height, plan.width, plan.crop)
    faces = talking_faces(FaceFinder().find(picture), len(speeches))
    portrait = TalkingPortrait(picture, faces, speeches, parameters.seed)
    return lambda segment: portrait.frame


def _portrait(inputs: RenderInputs, height: int, width: int, crop: Crop | None) -> Picture:
    with Image.open(_path(inputs.portrait)) as image:
        return np.ascontiguousarray(fit(np.asarray(image.convert("RGB")), height, width, crop))


def _path(portrait: Path | None) -> Path:
    assert portrait is not None, "exactly one of portrait and video is set"
    return portrait
