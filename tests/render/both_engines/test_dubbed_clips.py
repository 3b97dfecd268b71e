"""Which frame of a clip each frame of the video shows, in the draft and in the final video."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from infinitetalk.buckets import plan_chunks
from infinitetalk.conditioning.source import open_source
from infinitetalk.video_end import VIDEO_ENDS
from render.engines.base import Checkpoint, Engine, RenderInputs, RenderPlan
from render.engines.draft import engine as draft
from render.engines.draft.dubbed_video import SourceFrames
from render.engines.draft.engine import DraftEngine
from render.frame.shot import Source, plan_shot
from render.media.isolation import calls as isolated
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.infinitetalk.conftest import CHUNKS
from tests.render.both_engines.numbered_clips import CLIPS, STRIP, WIDTH, Clip, continued, number_of, write_clip
from tests.render.engines.conftest import inputs

FRAMES = 30  # longer than any of the clips, which last 0.5 to 0.9 s
SIZE = STRIP + WIDTH, WIDTH  # of a clip: height, width
LONG = Clip.at(25, 110)  # more than two seconds, after each of which a video can be entered
SEGMENT = 10  # frames

# After the step `prepare` all clips are of one kind, so that a few of them stand for the others. All: `make faults`.
QUICK = {("29.97", "hold"), ("60", "bounce"), ("with a gap", "loop")}
IN_A_DRAFT = [
    pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in product(CLIPS, VIDEO_ENDS)
]
IN_A_FINAL_VIDEO = [
    pytest.param(*case, marks=[] if case == ("with a gap", "loop") else pytest.mark.slow)
    for case in product(CLIPS, VIDEO_ENDS)
]


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory, head: np.ndarray) -> Callable[[Clip], Path]:
    """As the step `prepare` makes it of what a customer sends."""
    made: dict[Clip, Path] = {}

    def normalise(clip: Clip) -> Path:
        if clip not in made:
            folder = tmp_path_factory.mktemp("clip")
            source = write_clip(folder / "source.mp4", clip, lambda number: head)
            made[clip] = folder / "video.mp4"
            video = isolated.normalise_video(source, made[clip], max_seconds=60, param="image_url", check=lambda: None)
            assert (video.height, video.width) == SIZE
        return made[clip]

    return normalise


def plan_of(engine: Engine, given: RenderInputs, parameters: Parameters) -> RenderPlan:
    pixels = SIZE[0] * SIZE[1] if isinstance(engine, DraftEngine) else engine.pixels(parameters.resolution)
    return engine.plan(given, parameters, plan_shot(Source(SIZE), parameters, [], num_voices=1, pixels=pixels))


def test_a_clip_of_10_bit_has_10_bit(tmp_path: Path, head: np.ndarray) -> None:
    with av.open(str(write_clip(tmp_path / "a.mp4", CLIPS["10 bit"], lambda number: head))) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


@pytest.mark.parametrize("name", CLIPS)
def test_each_kind_of_clip_becomes_25_frames_a_second(normalised, name: str) -> None:
    shown = [number_of(frame) for _, frame in SourceFrames(normalised(CLIPS[name]), *SIZE).frames()]

    assert shown == CLIPS[name].shown()


@pytest.mark.parametrize(("name", "end"), IN_A_DRAFT)
def test_each_frame_of_a_draft_shows_the_frame_that_is_due(normalised, loud, monkeypatch, name: str, end: str) -> None:
    monkeypatch.setattr(draft, "SEGMENT_FRAMES", SEGMENT)
    given, parameters = inputs(normalised(CLIPS[name]), loud), Parameters(seed=1, frame_num=FRAMES, video_end=end)
    engine = DraftEngine()
    plan = plan_of(engine, given, parameters)
    segments = list(engine.segments(given, parameters, plan, None, FreeLease()))

    shown = [number_of(frame) for segment in segments for frame in segment.frames]
    assert shown == continued(CLIPS[name].shown(), end, FRAMES)
    # The segment in which most clips end, alone as after the death of a worker.
    resumed = next(engine.segments(given, parameters, plan, Checkpoint(2), FreeLease()))
    assert np.array_equal(resumed.frames, segments[2].frames)


@pytest.mark.parametrize(("name", "end"), IN_A_DRAFT)
def test_the_model_reads_the_same_frame(normalised, name: str, end: str) -> None:
    source = open_source(normalised(CLIPS[name]), video_end=end)
    starts = range(0, 3 * FRAMES, 5)

    due = continued(CLIPS[name].shown(), end, starts.stop)
    assert [number_of(source.frame(start)) for start in starts] == due[::5]


@pytest.mark.parametrize(("name", "end"), IN_A_FINAL_VIDEO)
def test_each_chunk_of_a_final_video_starts_from_the_frame_that_is_due(
    normalised, loud, tiny_model, name: str, end: str
) -> None:
    given = inputs(normalised(CLIPS[name]), loud)
    parameters = Parameters(seed=1, frame_num=FRAMES, video_end=end, sample_steps=1, lora_scale=0)
    engine = tiny_model.engine()
    plan = plan_of(engine, given, parameters)
    segments = list(engine.segments(given, parameters, plan, None, FreeLease()))

    starts = [chunk.start for chunk in plan_chunks(FRAMES, **CHUNKS)]
    due = continued(CLIPS[name].shown(), end, FRAMES)
    assert sum(len(segment.frames) for segment in segments) == FRAMES
    assert [number_of(frame) for frame in tiny_model.references] == [due[start] for start in starts]
    # From a chunk on, as after the death of a worker.
    tiny_model.references.clear()
    list(engine.segments(given, parameters, plan, segments[-3].checkpoint, FreeLease()))
    assert [number_of(frame) for frame in tiny_model.references] == [due[start] for start in starts[-2:]]


def test_a_video_can_be_entered_at_every_frame(normalised) -> None:
    source = SourceFrames(normalised(LONG), *SIZE)
    whole = [frame for _, frame in source.frames()]
    assert [number_of(frame) for frame in whole] == [*range(110)]

    for start in (1, 24, 25, 49, 50, 51, 99, 100, 101, 109):
        index, frame = next(source.frames(start))
        assert index == start
        assert np.array_equal(frame, whole[start])
        assert [number_of(frame) for frame in source.read([start, 100]).values()] == sorted({start, 100})


@pytest.mark.parametrize("frames", [28, 29, 30])
def test_a_video_is_read_as_far_as_it_is_needed(tmp_path: Path, head: np.ndarray, frames: int) -> None:
    """29 / 25 * 25 is less than 29, and the video would end before the voice does."""
    source = write_clip(tmp_path / "source.mp4", Clip.at(25, 40), lambda number: head)
    for seconds in (frames / 25, (frames - 0.4) / 25):
        video = isolated.normalise_video(
            source, tmp_path / "video.mp4", max_seconds=seconds, param="image_url", check=lambda: None
        )
        assert video.num_frames == frames
