"""Blinks on the astronaut: the eyes close, with skin over them, and what is not the eye stays."""

import cv2
import numpy as np
import pytest

from render.engines.draft.eyes import EYES, Eye
from render.engines.faces import Face, FaceFinder

BROW = 105  # Face Mesh: the middle of the left brow, at its upper edge


@pytest.fixture(scope="module")
def picture(astronaut: np.ndarray) -> np.ndarray:
    return cv2.resize(astronaut, (900, 900), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def face(picture: np.ndarray) -> Face:
    return FaceFinder().find(picture)[0]


def blink(picture: np.ndarray, face: Face, closed: float) -> np.ndarray:
    frame = picture.copy()
    for index in (0, 1):
        Eye(picture, face, index).draw(frame, closed)
    return frame


def window(face: Face, index: int, below: float = 0.0) -> tuple[slice, slice]:
    """The middle of an open eye; `below`: eye heights further down."""
    upper, lower = face.points[EYES[index]["upper"]], face.points[EYES[index]["lower"]]
    height = float(lower[4, 1] - upper[4, 1])
    x, y = np.concatenate([upper[2:7], lower[2:7]]).mean(axis=0) + (0, below * height)
    reach = 0.15 * height
    return slice(round(y - reach), round(y + reach)), slice(round(x - 2 * reach), round(x + 2 * reach))


@pytest.mark.parametrize("index", [0, 1])
def test_a_closed_eye_is_covered_by_skin_like_that_around_it(picture, face, index):
    """Brightness and colour of the lid, between the lashes and the fold, beside those of the cheek."""
    closed = blink(picture, face, 1.0)
    cheek = picture[window(face, index, below=1.2)].reshape(-1, 3).mean(axis=0)
    eye, lid = (frame[window(face, index)].reshape(-1, 3).astype(float) for frame in (picture, closed))
    assert np.abs(eye.mean(axis=0) - cheek).max() > 60
    assert np.abs(lid.mean(axis=0) - cheek).max() < 35
    # No stripes of lashes are drawn out over it; its shading is smooth.
    rows = closed[window(face, index)].astype(float).mean(axis=-1)
    assert np.abs(np.diff(rows, axis=1)).max() < 12


def test_the_lashes_come_down(picture, face):
    """The darkest row of a closed eye is where the lids meet, not where the lashes of the open one were."""
    for index in (0, 1):
        upper, lower = face.points[EYES[index]["upper"][4]], face.points[EYES[index]["lower"][4]]
        height = float(lower[1] - upper[1])
        x = round(float(upper[0]))
        start = round(float(upper[1] - 0.5 * height))
        column = np.s_[start : round(float(lower[1] + 0.3 * height)), x - 3 : x + 4]
        darkest = start + int(blink(picture, face, 1.0)[column].mean(axis=(1, 2)).argmin())
        assert abs(darkest - (upper[1] + 0.87 * height)) < 0.25 * height


def test_a_rim_of_glasses_above_the_eye_and_the_brow_stay(picture, face):
    with_rim = picture.copy()
    upper = face.points[EYES[0]["upper"]]
    height = float(face.points[EYES[0]["lower"][4], 1] - upper[4, 1])
    y = round(float(upper[:, 1].min() - 0.7 * height))
    left, right = round(float(upper[0, 0])) - 20, round(float(upper[-1, 0])) + 20
    with_rim[y - 3 : y + 4, left:right] = 30
    frame = blink(with_rim, face, 1.0)
    assert np.abs(frame[y - 1 : y + 2, left:right].astype(int) - 30).max() < 25
    brow = face.points[BROW].astype(int)
    around = np.s_[brow[1] - 8 : brow[1] + 8, brow[0] - 20 : brow[0] + 20]
    assert np.abs(frame[around].astype(int) - with_rim[around].astype(int)).max() <= 2


def test_a_rim_of_glasses_below_the_eye_stays_and_the_eye_still_closes(picture, face):
    with_rim = picture.copy()
    lower = face.points[EYES[0]["lower"]]
    height = float(lower[4, 1] - face.points[EYES[0]["upper"][4], 1])
    y = round(float(lower[:, 1].max() + 0.35 * height))
    left, right = round(float(lower[0, 0])) - 20, round(float(lower[-1, 0])) + 20
    with_rim[y - 3 : y + 4, left:right] = 30
    frame = blink(with_rim, face, 1.0)
    rows = frame[y - 3 : y + 5, left:right].mean(axis=(1, 2))
    assert rows[:7].max() < 40  # where it was, and as wide
    assert rows[7] > 100
    cheek = picture[window(face, 0, below=1.2)].reshape(-1, 3).mean(axis=0)
    assert np.abs(frame[window(face, 0)].reshape(-1, 3).mean(axis=0) - cheek).max() < 45


def test_the_smallest_face_that_can_be_moved_blinks(astronaut):
    small = cv2.resize(astronaut, (110, 110), interpolation=cv2.INTER_AREA)
    (face,) = FaceFinder().find(small)
    assert face.width < 70
    frame = blink(small, face, 1.0)
    for index in (0, 1):
        middle = face.points[EYES[index]["upper"][4]] * 0.4 + face.points[EYES[index]["lower"][4]] * 0.6
        x, y = middle.astype(int)
        assert frame[y, x].mean() > small[y, x].mean() + 15


def test_an_eye_that_is_closed_in_the_picture_stays_as_it_is(picture, face):
    points = face.points.copy()
    for eye in EYES:
        points[eye["upper"][1:-1]] = points[eye["lower"][1:-1]]
    shut = Face(points, face.depth, face.score)
    frame = picture.copy()
    with np.errstate(divide="raise", invalid="raise"):
        Eye(picture, shut, 0).draw(frame, 1.0)
    assert np.abs(frame.astype(int) - picture.astype(int)).mean() < 0.05
