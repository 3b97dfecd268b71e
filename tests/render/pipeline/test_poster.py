"""The poster of a film of the astronaut, whose eyes and mouth are drawn as the draft draws them."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from render.engines.draft.eyes import Eye
from render.engines.draft.mouth.drawing import Mouth
from render.engines.draft.mouth.shape import MouthPose
from render.engines.faces import Face, FaceFinder
from render.media.video.segment_file import encode_segment
from render.pipeline.poster import CANDIDATES, STEP, poster_frame


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[0:300, 75:375])


@pytest.fixture(scope="module")
def face(picture: np.ndarray) -> Face:
    return FaceFinder().find(picture)[0]


def drawn(picture: np.ndarray, face: Face, *, closed_eyes: float, opening: float) -> np.ndarray:
    frame = picture.copy()
    for index in (0, 1):
        Eye(picture, face, index).draw(frame, closed_eyes)
    Mouth(picture, face).draw(frame, MouthPose(opening, 0.0))
    return frame


@pytest.fixture(scope="module")
def talking(picture: np.ndarray, face: Face) -> np.ndarray:
    return drawn(picture, face, closed_eyes=0, opening=1)


@pytest.fixture(scope="module")
def blinking(picture: np.ndarray, face: Face) -> np.ndarray:
    return drawn(picture, face, closed_eyes=1, opening=0)


@pytest.fixture(scope="module")
def friendly(picture: np.ndarray, face: Face) -> np.ndarray:
    return drawn(picture, face, closed_eyes=0, opening=0)


def film(folder: Path, *parts: tuple[int, np.ndarray], segment_frames: int = 25) -> list[Path]:
    """Segments of pictures, each of them shown for a number of frames."""
    frames = [picture for count, picture in parts for _ in range(count)]
    paths = []
    for start in range(0, len(frames), segment_frames):
        paths.append(folder / f"{start}.ts")
        encode_segment(np.stack(frames[start : start + segment_frames]), paths[-1], start_frame=start)
    return paths


def test_the_poster_has_open_eyes_and_a_closed_mouth(tmp_path, talking, blinking, friendly):
    segments = film(tmp_path, (12, blinking), (30, talking), (STEP, friendly), (12, blinking))
    assert poster_frame(segments) == (segments[1], 42 - 25)


@pytest.mark.parametrize("order", [("blinking", "friendly"), ("talking", "friendly"), ("blinking", "talking")])
def test_open_eyes_count_most(tmp_path, request, order):
    worse, better = (request.getfixturevalue(name) for name in order)
    segments = film(tmp_path, (STEP, worse), (STEP, better))
    assert poster_frame(segments) == (segments[0], STEP)


def test_the_worst_of_two_faces_counts(tmp_path, talking, blinking, friendly):
    def couple(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.concatenate([left, right[:, ::-1]], axis=1)

    parts = [
        couple(friendly, blinking),
        couple(blinking, friendly),
        couple(talking, talking),
        couple(friendly, talking),
    ]
    segments = film(tmp_path, *[(STEP, part) for part in parts], (STEP, parts[0]))
    assert poster_frame(segments)[1] in (2 * STEP, 3 * STEP)


def test_a_face_out_of_sight_is_no_poster_and_one_that_comes_later_is_found(tmp_path, talking, picture):
    wall = np.full_like(picture, 128)
    segments = film(tmp_path, (3 * STEP, wall), (2 * STEP, talking), (STEP, wall))
    assert poster_frame(segments) == (segments[0], 4 * STEP)


def test_without_a_face_it_is_the_middle_one(tmp_path):
    scenery = skimage.data.coffee()[:200, :300]
    segments = film(tmp_path, (5 * STEP, scenery))
    assert poster_frame(segments) == (segments[0], 2 * STEP)


def test_only_the_beginning_of_a_film_is_looked_at(tmp_path, talking, friendly):
    """The second segment is broken: it lies behind the candidates."""
    segments = film(tmp_path, ((CANDIDATES - 1) * STEP + 1, talking), (10, friendly), segment_frames=CANDIDATES * STEP)
    broken = tmp_path / "broken.ts"
    broken.write_bytes(b"no video")
    assert poster_frame([*segments, broken])[0] == segments[0]


def test_a_film_of_one_frame(tmp_path, talking):
    segments = film(tmp_path, (1, talking))
    assert poster_frame(segments) == (segments[0], 0)
