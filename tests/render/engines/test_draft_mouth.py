"""What the drawn mouth looks like: its pixels, not only how far it opens."""

import cv2
import numpy as np
import pytest

from render.engines.draft.mouth.drawing import Mouth
from render.engines.draft.mouth.lips import STATIONS
from render.engines.draft.mouth.shape import MouthPose
from render.engines.draft.mouth.sharpness import blur_of
from render.engines.faces import FaceFinder
from render.frame.fit import fit


def mouth_in(image: np.ndarray) -> Mouth:
    return Mouth(image, FaceFinder().find(image)[0])


def drawn(mouth: Mouth, image: np.ndarray, opening: float, spread: float = 0.0) -> np.ndarray:
    frame = image.copy()
    mouth.draw(frame, MouthPose(opening, spread))
    return frame


def around(mouth: Mouth, image: np.ndarray, above: float = 0.3, below: float = 0.45) -> np.ndarray:
    """The pixels around the lips, from and to these distances in mouth widths."""
    x, y, width = *mouth.shape.axes.centre, mouth.shape.axes.width
    rows = np.s_[int(y - above * width) : int(y + below * width), int(x - 0.6 * width) : int(x + 0.6 * width)]
    return image[rows].astype(np.float32)


def dark(mouth: Mouth, window: np.ndarray) -> np.ndarray:
    """Pixels with less than half of the light of this person's lips."""
    return window.mean(axis=-1) < 0.5 * mouth.shape.lips.color.mean()


def teeth(mouth: Mouth, image: np.ndarray, part: float) -> np.ndarray:
    """H x W: pixels with the color of teeth rather than lips, in the upper part of the gap that the mouth had."""
    lips, pale = mouth.shape.lips, mouth.shape.lips.upper_pale
    rows, columns = np.indices(image.shape[:2], np.float32)
    u, v = mouth.shape.axes.to_mouth(np.stack([columns, rows], axis=-1))
    top, gap = np.interp(u, STATIONS, lips.upper_inner), np.interp(u, STATIONS, lips.gap)
    light, red = image.mean(axis=-1), image[..., 0] / (image.sum(axis=-1, dtype=np.float32) + 1)
    tooth = (red < (pale.lip_red + pale.tooth_red) / 2) & (light > pale.lip_light)
    return tooth & (np.abs(u) < 1) & (v > top) & (v < top + part * gap)


@pytest.fixture(scope="module")
def smile(astronaut) -> np.ndarray:
    return np.ascontiguousarray(fit(astronaut, 640, 640))


@pytest.fixture(scope="module")
def smiling(smile) -> Mouth:
    return mouth_in(smile)


@pytest.fixture(scope="module")
def calm(smile, smiling) -> np.ndarray:
    """The same woman with closed lips."""
    return drawn(smiling, smile, 0)


@pytest.fixture(scope="module")
def calm_mouth(calm) -> Mouth:
    return mouth_in(calm)


def test_below_the_teeth_it_is_dark(smile, smiling, calm, calm_mouth):
    assert smiling.shape.lips.is_open
    for mouth, image in ((smiling, smile), (calm_mouth, calm)):
        wide = around(mouth, drawn(mouth, image, 1.0, 0.2))
        inside, middle = dark(mouth, wide), wide.shape[1] // 2
        for column in (middle - 12, middle, middle + 12):
            assert inside[:, column].sum() > 0.07 * mouth.shape.axes.width, column
        # No pale or pink pixel lies between the dark and the lower lip: the dark is in one piece.
        rows = np.flatnonzero(inside[:, middle])
        assert len(rows) >= 0.9 * (rows[-1] - rows[0] + 1)


def test_a_smile_closes(smile, smiling, calm):
    shown, left = (teeth(smiling, image, part=0.5).sum() for image in (smile, calm))
    assert shown > 150
    assert left < 0.02 * shown


def test_the_image_itself_is_one_of_the_poses(smile, smiling):
    pose = smiling.shape.natural_pose
    again = drawn(smiling, smile, pose.opening, pose.spread)
    assert np.abs(around(smiling, again) - around(smiling, smile)).mean() < 4


def test_the_contour_runs_between_lips_and_teeth(smile, smiling):
    """Seen from the contour, a step outwards there is a lip, and a step inwards there are teeth."""
    lips, pale = smiling.shape.lips, smiling.shape.lips.upper_pale
    stations = np.s_[12:29]
    for contour, inwards in ((lips.upper_inner, 1), (lips.lower_inner, -1)):
        outside, inside = (
            lips.sample(smile, STATIONS[None, stations], contour[None, stations] + step * inwards)[0]
            for step in (-0.03, 0.03)
        )
        red = [color[:, 0] / color.sum(axis=-1) for color in (outside, inside)]
        assert np.median(red[0]) > (pale.lip_red + pale.tooth_red) / 2 > np.median(red[1])


@pytest.mark.parametrize("spread", [-0.6, 0.0, 0.5])
def test_the_gap_grows_with_the_opening(smile, smiling, calm, calm_mouth, spread):
    for mouth, image in ((smiling, smile), (calm_mouth, calm)):
        sizes = []
        for opening in np.linspace(0, 1, 11):
            sizes.append(int(dark(mouth, around(mouth, drawn(mouth, image, opening, spread), above=0.05)).sum()))
        assert np.diff(sizes).min() > -0.03 * sizes[-1], sizes
        assert sizes[-1] > sizes[0] + 250, sizes


def test_rounded_lips_open_less_and_cover_the_teeth(smile, smiling):
    wide, rounded = (drawn(smiling, smile, 0.9, spread) for spread in (0.4, -1.0))
    assert teeth(smiling, rounded, part=1).sum() < 0.4 * teeth(smiling, wide, part=1).sum()
    assert dark(smiling, around(smiling, rounded)).sum() < 0.5 * dark(smiling, around(smiling, wide)).sum()


def test_only_the_lower_face_moves(smile, smiling):
    face = FaceFinder().find(smile)[0]
    changed = np.abs(drawn(smiling, smile, 1.0, 0.5).astype(int) - smile).max(axis=-1) > 2
    below_the_nose = face.points[2, 1] - 6
    left, right = face.points[[234, 454], 0]
    rows, columns = np.nonzero(changed)
    assert rows.min() > below_the_nose
    assert rows.max() < face.points[152, 1] + 0.5 * smiling.shape.axes.width
    assert columns.min() > left - 5
    assert columns.max() < right + 5


def test_the_jaw_turns_about_the_ears(smile, smiling):
    """The chin moves most, the jaw's sides less, and what lies at the ear not at all."""
    axes, (_, chin) = smiling.shape.axes, smiling.shape.chin
    u = np.array([0.0, 0.7, 1.3, 2.2], np.float32)
    down = smiling.shape.fields(u, np.full(4, 0.5 * chin, np.float32))[1][0] @ axes.down / axes.width
    assert 0.6 < down[0] <= 1.05
    assert (np.diff(down) < -0.05).all(), down
    assert abs(down[-1]) < 0.1


def test_lower_teeth_travel_with_the_jaw(smile, smiling):
    laugh = drawn(smiling, smile, 1.0, 0.2)
    axes = smiling.shape.axes
    x, y = axes.centre.astype(int)
    for column in range(x - 22, x + 23):  # a row of lower teeth on the lower lip
        rows = np.flatnonzero(dark(smiling, laugh[y - 10 : y + 60, column])) + y - 10
        laugh[rows[-1] - 6 : rows[-1] + 1, column] = 235
    mouth = mouth_in(laugh)
    natural = mouth.shape.natural_pose

    def lower_row(opening: float) -> float:
        frame = drawn(mouth, laugh, opening, natural.spread)[y - 10 : y + 60, x - 10 : x + 11]
        return float(np.median([np.flatnonzero(column)[-1] for column in (frame.min(axis=-1) > 190).T if column.any()]))

    raised = 0.25 * natural.opening * axes.width * 0.26
    assert lower_row(natural.opening) - lower_row(0.6 * natural.opening) > raised


@pytest.mark.parametrize(("across", "down"), [(2.0, 2.0), (4.0, 1.5), (1.5, 3.0)])
def test_blur_is_measured_in_each_direction(across, down):
    squares = np.kron(np.indices((6, 6)).sum(axis=0) % 2, np.ones((40, 40))).astype(np.uint8) * 200
    image = cv2.GaussianBlur(cv2.cvtColor(squares, cv2.COLOR_GRAY2RGB), (0, 0), across, sigmaY=down)
    assert np.allclose(blur_of(image), (across, down), rtol=0.2)


def test_in_a_blurred_image_the_drawn_mouth_is_as_blurred(smile, smiling):
    steepest = []
    for mouth, image in ((smiling, smile), (None, cv2.GaussianBlur(smile, (0, 0), 3.0))):
        mouth = mouth or mouth_in(image)
        window = around(mouth, drawn(mouth, image, 0.9, 0.2), above=0)
        middle = window[:, window.shape[1] // 2 - 8 : window.shape[1] // 2 + 9].mean(axis=(1, 2))
        steepest.append(np.abs(np.diff(middle)).max())  # at the edge of the drawn dark
    assert steepest[1] < 0.55 * steepest[0]


@pytest.mark.parametrize("closed", [False, True])
def test_a_photograph_without_colors_gets_none(smile, calm, closed):
    gray = np.repeat(cv2.cvtColor(calm if closed else smile, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=-1)

    frame = drawn(mouth_in(gray), gray, 0.9)

    assert not np.array_equal(frame, gray)
    assert np.ptp(frame.astype(int), axis=-1).max() <= 1
