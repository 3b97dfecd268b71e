import cv2
import numpy as np
import pytest
import skimage.data

from accounts.errors import ServiceError
from render.engines.base import FPS, Checkpoint
from render.engines.draft.dubbed_video import DubbedVideo, SourceFrames
from render.engines.draft.engine import DraftEngine
from render.engines.draft.mouth.drawing import Mouth
from render.engines.draft.mouth.shape import MouthPose
from render.engines.draft.voice_features import SpeechTrack
from render.engines.faces import FaceFinder
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


SHOTS = 16


def panned_smile() -> list[np.ndarray]:
    """A smile that motion blurs most in the last frames, with the noise of a dark room."""
    picture, random = skimage.data.astronaut(), np.random.default_rng(5)
    shots = []
    for index in range(SHOTS):
        left = round(60 + 25 * np.sin(index / 4))
        blurred = cv2.blur(picture[0:300, left : left + 300], (1 + int(7 * abs(np.cos(index / 4))), 1))
        shots.append(np.clip(blurred + random.normal(0, 12, blurred.shape), 0, 255).astype(np.uint8))
    return shots


def talking() -> list[np.ndarray]:
    """Her mouth opens and closes while it is filmed."""
    picture, random = np.ascontiguousarray(skimage.data.astronaut()[0:300, 75:375]), np.random.default_rng(5)
    mouth = Mouth(picture, FaceFinder().find(picture)[0])
    shots = []
    for index in range(SHOTS):
        shot = picture.copy()
        mouth.draw(shot, MouthPose(0.5 - 0.5 * np.cos(index / 2), 0.0))
        shots.append(np.clip(shot + random.normal(0, 4, shot.shape), 0, 255).astype(np.uint8))
    return shots


@pytest.mark.parametrize(
    ("shots", "largest_step"), [(panned_smile, 8), pytest.param(talking, 12, marks=pytest.mark.slow)]
)
def test_what_is_seen_between_the_lips_does_not_flicker(shots, largest_step, tmp_path):
    film = SourceFrames(write_video(tmp_path / "shots.mp4", shots(), 300, 300), 480, 480)
    held = np.full(SHOTS, 0.6)  # a voice under which the mouth keeps still
    dubbed = DubbedVideo(film, [SpeechTrack(held, 0 * held, held)], SHOTS, [], "loop")
    filmed = dubbed.load(range(SHOTS))
    frames = [dubbed.frame(index, filmed) for index in range(SHOTS)]
    colors = []
    face = FaceFinder().find(filmed[6])[0]
    for index, frame in enumerate(frames):
        face = FaceFinder().follow(filmed[index], face)
        (x, y), width = face.points[[61, 291]].mean(axis=0), np.ptp(face.points[[61, 291], 0])
        window = frame[int(y - 0.02 * width) : int(y + 0.22 * width), int(x - 0.2 * width) : int(x + 0.2 * width)]
        colors.append(window.mean(axis=(0, 1)))
    assert np.abs(np.diff(colors, axis=0)).max() < largest_step
    assert np.array_equal(dubbed.frame(9, dubbed.load([9])), frames[9])
