import numpy as np
import pytest

from accounts.errors import ServiceError
from render.engines.base import FPS, Checkpoint
from render.engines.draft.dubbed_video import SourceFrames
from render.engines.draft.engine import DraftEngine
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.render.engines.conftest import inputs, plan_of, render, write_video
from tests.render.engines.lip_sync import lip_sync


@pytest.fixture(scope="module")
def dubbed(film, speech):
    """The film there, back and there again for a while; two segments."""
    return render(inputs(film, speech), frame_num=2 * FPS + 8)


@pytest.fixture(scope="module")
def filmed(film) -> list[np.ndarray]:
    return [picture for _, picture in SourceFrames(film, 640, 640).frames()]


def test_a_short_video_goes_back_and_forth_under_a_long_voice(dubbed, filmed):
    _, frames = dubbed
    top = np.s_[:150]  # above the mouth nothing is changed
    there_and_back = [*range(FPS), *range(FPS - 2, -1, -1), *range(1, 10)]
    for frame, index in zip(frames, there_and_back, strict=False):
        assert np.array_equal(frame[top], filmed[index][top])


def test_frames_without_a_face_pass_unchanged(dubbed, filmed):
    _, frames = dubbed
    assert np.array_equal(frames[12][:580], filmed[12][:580])


@pytest.mark.quality
def test_the_mouth_is_moved_by_the_new_voice(film, speech, folder, filmed):
    faces = [frame for index, frame in enumerate(filmed) if index < 10]
    source = write_video(folder / "faces.mp4", faces, 640, 640)
    plan, frames = render(inputs(source, speech))
    video = write_video(folder / "dubbed.mp4", frames, plan.height, plan.width)
    assert lip_sync(video, speech)[0] > 0.65


def test_a_resumed_dubbing_has_the_same_frames(dubbed, film, speech):
    plan, frames = dubbed
    last = len(plan.segments) - 1
    (segment,) = DraftEngine().segments(inputs(film, speech), Parameters(seed=7), plan, Checkpoint(last), FreeLease())
    assert np.array_equal(segment.frames, frames[50 * last :])


def test_a_video_without_a_face_is_refused(folder, silence):
    grey = write_video(folder / "grey.mp4", [np.full((320, 320, 3), 90, np.uint8)] * 15, 320, 320)
    with pytest.raises(ServiceError) as caught:
        plan_of(inputs(grey, silence), Parameters(seed=0))
    assert caught.value.code == "no_face"
