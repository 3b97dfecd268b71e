"""Blinks: when they happen, and how an eye is closed.

The lid that comes down is not visible while the eye is open, so it is made: of the skin around the eye, shaded as the
ball that it lies on. The lashes and the eyeliner are the face's own; they come down with the lid and turn with it, from
upwards to downwards. Nothing above the lashes moves, so that brows and the rims of glasses stay as they are.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.engines.faces import Face, RgbImage

Floats = NDArray[np.float32]

# Face Mesh's indices: the lids from corner to corner, and the lower edge of the brow.
EYES = (
    {"upper": [33, 246, 161, 160, 159, 158, 157, 173, 133], "lower": [33, 7, 163, 144, 145, 153, 154, 155, 133],
     "brow": [46, 53, 52, 65, 55]},
    {"upper": [362, 398, 384, 385, 386, 387, 388, 466, 263], "lower": [362, 382, 381, 380, 374, 373, 390, 249, 263],
     "brow": [285, 295, 282, 283, 276]},
)  # fmt: skip

CLOSING = (0.4, 1.0, 1.0, 0.7, 0.35, 0.1)  # by frame of a blink: closed in 80 ms, open again in 160 ms
FIRST_BLINK_SECONDS = 0.6
BLINK_SECONDS = (2.0, 4.5)  # between blinks

MEETING = 0.82  # share of the way from the upper to the lower lid at which they meet
LID_OVERLAP = 0.05  # the upper lid moves a little further, because the mesh is not exact
LOWER_LID = 0.5  # eye heights: the skin below the eye that rises

LID = 0.8  # eye heights above the open eye: the part that a closing lid covers; it ends in the lid's fold
TO_BROW = 0.5  # share of the way to the brow, which it never exceeds
WINGS = 0.12  # eye widths: how far it reaches beyond the corners
SKIN_LEVELS = (0.75, 1.3)  # of the brightness below the eye; what is darker or brighter is not skin
GRAIN = 6  # levels of 255: pores; more is a fold of the skin

LASHES = 0.5  # eye heights: above the open eye
LASH_LENGTH = (1.0, -0.55)  # as seen from the front: of the open eye, upwards; of the closed one, downwards
MIN_LENGTH = 0.3  # while they point at the camera
DARKEST = 0.2  # of the skin's brightness: lashes are not black
TAKEN = 0.3  # a lid closed this far has taken all its lashes with it


def blink_curve(num_frames: int, random: np.random.Generator) -> NDArray[np.float64]:
    """One value per frame, from 0 (open) to 1 (closed). A longer video begins with the same blinks."""
    closed = np.zeros(num_frames)
    start = round((FIRST_BLINK_SECONDS + random.uniform(0, 2)) * FPS)
    while start < num_frames:
        blink = CLOSING[: num_frames - start]
        closed[start : start + len(blink)] = blink
        start += round(random.uniform(*BLINK_SECONDS) * FPS)
    return closed


class Eye:
    """One eye of a still image. Its axes run through the corners of the eye, in pixels."""

    def __init__(self, image: RgbImage, face: Face, index: int) -> None:
        landmarks = EYES[index]
        self._image = image
        left, right = face.points[landmarks["upper"][0]], face.points[landmarks["upper"][-1]]
        width = float(np.linalg.norm(right - left))
        across = (right - left) / width
        down = np.array([-across[1], across[0]], np.float32)

        corners = np.stack([left, right])
        reach = np.array([width * 0.25, width * 0.75])
        low = np.floor(corners.min(axis=0) - reach).astype(int)
        high = np.ceil(corners.max(axis=0) + reach).astype(int)
        self.region = (
            max(int(low[0]), 0),
            max(int(low[1]), 0),
            min(int(high[0]), image.shape[1]),
            min(int(high[1]), image.shape[0]),
        )
        x, y = np.meshgrid(
            np.arange(self.region[0], self.region[2], dtype=np.float32),
            np.arange(self.region[1], self.region[3], dtype=np.float32),
        )
        self._base, self._down = np.stack([x, y], axis=-1), down
        offset = self._base - left
        along, self._v = offset @ across, offset @ down

        stations = np.linspace(0, width, 33)

        def contour(name: str) -> Floats:
            points = face.points[landmarks[name]] - left
            order = np.argsort(points @ across)
            heights = np.interp(stations, (points @ across)[order], (points @ down)[order])
            return cv2.GaussianBlur(heights[:, None], (0, 0), 1.5)[:, 0]

        def at_pixels(curve: Floats) -> Floats:
            return np.interp(along, stations, curve).astype(np.float32)

        def between_corners(curve: Floats) -> Floats:
            """Lowered to the corners, where the lids meet: smoothing has lifted the ends of the contours."""
            return at_pixels(curve - np.linspace(curve[0], curve[-1], len(curve)))

        upper, lower = between_corners(contour("upper")), between_corners(contour("lower"))
        self._upper, self._lower = upper, lower
        self._opening = np.maximum(lower - upper, 0)
        self._height = max(float(self._opening.max()), 1.0)  # also of an eye that is closed in the image
        self._lid = np.clip(TO_BROW * (upper - at_pixels(contour("brow"))), 0.2 * self._height, LID * self._height)
        self._side = 2 * along / width - 1  # from -1 to 1, corner to corner
        self._beside = np.clip(np.minimum(along, width - along) / (WINGS * width) + 1, 0, 1)

        window = image[self.region[1] : self.region[3], self.region[0] : self.region[2]].astype(np.float32)
        self._skin = self._skin_around(window)
        self._grain = np.clip(window - cv2.GaussianBlur(window, (0, 0), 1.2), -GRAIN, GRAIN)
        lashes = np.clip(window / np.maximum(self._skin, 1), DARKEST, 1)
        self._lashes = cv2.GaussianBlur(lashes, (0, 0), 0.6)  # 1 where there are none
        # What is dark above the lashes is the rim of glasses, or make-up: it stays.
        dark = np.clip((0.7 - self._lashes.mean(axis=-1)) / 0.2, 0, 1)
        self._free = 1 - dark * np.clip((upper - self._v - 0.6 * self._height) / (0.15 * self._height), 0, 1)

    def _skin_around(self, window: Floats) -> Floats:
        """The region with smooth skin in place of the eye, as it would go on."""
        light = window.mean(axis=-1)
        below, above = self._v - self._lower, self._upper - self._v
        cheek = (self._opening > 0) & (below > 0.2 * self._height) & (below < self._height)
        usual = float(np.percentile(light[cheek] if cheek.any() else light, 60))  # a rim of glasses may be there
        is_skin = (light > SKIN_LEVELS[0] * usual) & (light < SKIN_LEVELS[1] * usual)
        is_skin &= (below > 0.15 * self._height) | (above > self._lid)
        total, weight = np.full_like(window, 1e-5 * usual), np.full_like(light, 1e-5)
        for sigma, share in ((0.35, 1.0), (1.0, 0.02)):  # skin further away counts where there is none nearby
            weights = share * is_skin.astype(np.float32)
            total += cv2.GaussianBlur(window * weights[..., None], (0, 0), sigma * self._height + 0.5)
            weight += cv2.GaussianBlur(weights, (0, 0), sigma * self._height + 0.5)
        return total / weight[..., None]

    def draw(self, frame: RgbImage, closed: float) -> None:
        """Overwrite the eye's region of a frame, which must equal the image there. closed: from 0 to 1."""
        left, top, right, bottom = self.region
        drawn = self._with_raised_lower_lid(closed)
        self._draw_lid(drawn, closed)
        self._draw_lashes(drawn, closed)
        frame[top:bottom, left:right] = np.clip(drawn, 0, 255).astype(np.uint8)

    def _with_raised_lower_lid(self, closed: float) -> Floats:
        rise = np.float32(closed * (1 - MEETING)) * self._opening
        below = self._v - (self._lower - rise)
        skin = LOWER_LID * self._height
        raised = self._lower + below * skin / (skin + rise)
        moved = np.where((below > 0) & (below < skin + rise), raised, self._v)
        return self._sample(self._image, moved, (0, 0))

    def _drop(self, closed: float) -> Floats:
        return np.float32(closed * (MEETING + LID_OVERLAP)) * self._opening

    def _draw_lid(self, drawn: Floats, closed: float) -> None:
        drop = self._drop(closed)
        above = self._upper + drop - self._v  # distance from the edge of the lid, up
        # A ball lit from above: darker in the fold, where it turns down to the lashes, and at the corners.
        height = np.clip(above / (drop + self._lid), 0, 1)
        shade = 1.04 - 0.6 * (height - 0.45) ** 2 - 0.06 * self._side**2
        grain = self._sample(self._grain, self._lower + 0.3 * self._height + above, self.region[:2])
        edge = np.clip(above / 1.5 + 0.5, 0, 1)
        fold = np.clip(2 * (self._lid - (self._upper - self._v)) / self._lid, 0, 1)
        covered = edge * fold * self._beside * self._free * min(closed / TAKEN, 1)
        drawn += (self._skin * shade[..., None] + grain - drawn) * covered[..., None]

    def _draw_lashes(self, drawn: Floats, closed: float) -> None:
        length = LASH_LENGTH[0] + (LASH_LENGTH[1] - LASH_LENGTH[0]) * closed
        length = float(np.copysign(max(abs(length), MIN_LENGTH), length))
        above = (self._upper + self._drop(closed) - self._v) / length  # of the open eye
        root = (above / self._height + 0.05) / 0.15
        tip = 2 * (1 - above / self._height / LASHES)
        strength = np.clip(np.minimum(root, tip), 0, 1) * self._beside * min(closed / TAKEN, 1)
        lashes = self._sample(self._lashes, self._upper - above, self.region[:2])
        drawn *= 1 - strength[..., None] * (1 - lashes)

    def _sample(self, image: NDArray[Any], v: Floats, origin: tuple[int, int]) -> Floats:
        """An image whose upper left corner lies at `origin` in the portrait, at the heights `v`."""
        where = self._base + (v - self._v)[..., None] * self._down - np.array(origin, np.float32)
        sampled = cv2.remap(image, where.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return sampled.astype(np.float32)
