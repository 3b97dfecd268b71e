"""Blinks: when they happen, and how an eye is closed by its own lid.

The skin between the brow and the lashes is stretched over the eye and takes the lashes along, so that a closed eye
keeps the skin, the light and the eyeliner of the face.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.engines.draft.mouth.drawing import blend
from render.engines.faces import Face, RgbImage

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
LASHES = 0.16  # eye heights: the part of the lid that moves without being stretched
LID = 0.75  # eye heights: the skin that is stretched, at most
LID_TONE = 0.93  # of the cheek's brightness
LID_PAINT = 0.65  # share of that tone in the stretched skin
LOWER_LID = 0.5  # eye heights: the skin below the eye that rises


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

        def contour(name: str) -> NDArray[np.float32]:
            points = face.points[landmarks[name]] - left
            order = np.argsort(points @ across)
            stations, heights = (points @ across)[order], (points @ down)[order]
            smooth = np.linspace(0, width, 33)
            curve = cv2.GaussianBlur(np.interp(smooth, stations, heights)[:, None], (0, 0), 1.5)[:, 0]
            return np.interp(along, smooth, curve).astype(np.float32)

        self._upper, self._lower = contour("upper"), contour("lower")
        self._height = float((self._lower - self._upper).max())
        # There is no lid beyond the corners: the contours meet there.
        inside = np.clip(np.minimum(along, width - along) / (0.12 * width), 0, 1)
        self._opening = np.maximum(self._lower - self._upper, 0) * inside
        brow = contour("brow")
        room = np.maximum(self._upper - brow, 0) * 0.8
        self._lid = np.minimum(room, LID * self._height) * np.clip(inside * 2, 0, 1) + 1e-3

        below = self._v - self._lower
        cheek = (inside >= 1) & (below > 0.2 * self._height) & (below < 0.7 * self._height)
        window = image[self.region[1] : self.region[3], self.region[0] : self.region[2]]
        self._skin = LID_TONE * np.median(window[cheek], axis=0).astype(np.float32) if cheek.any() else None

    def draw(self, frame: RgbImage, closed: float) -> None:
        """Overwrite the eye's region of a frame, which must equal the image there. closed: from 0 to 1."""
        left, top, right, bottom = self.region
        drop = np.float32(closed * (MEETING + LID_OVERLAP)) * self._opening
        rise = np.float32(closed * (1 - MEETING)) * self._opening

        edge = self._upper + drop
        above = np.maximum(edge - self._v, 0)  # distance from the lashes, up
        lashes = np.minimum(LASHES * self._height, 0.5 * self._lid)
        stretched = lashes + (above - lashes) * (self._lid - lashes) / np.maximum(self._lid + drop - lashes, 1e-3)
        source = np.where(above < lashes, above, np.minimum(stretched, above))
        lid = self._sample(np.where(above < self._lid + drop, self._upper - source, self._v))

        lower_edge = self._lower - rise
        skin = LOWER_LID * self._height
        below = self._v - lower_edge
        raised = self._lower + below * skin / (skin + rise)
        uncovered = self._sample(np.where((below > 0) & (below < skin + rise), raised, self._v))

        # A lid turns away from the light as it moves down, most of all at its edge.
        shade = 1 - 0.12 * closed * np.exp(-((above / (0.35 * self._height)) ** 2)) * (self._opening > 0)
        lid = lid * shade[..., None]
        if self._skin is not None:
            # The stretched skin was in the shadow under the brow. A lid outside it has the tone of the cheek.
            band = np.clip((above - lashes) / (0.18 * self._height), 0, 1)
            band *= np.clip((self._lid + drop - above) / (0.5 * self._height), 0, 1) * self._opening / self._height
            lid += (self._skin * shade[..., None] - lid) * (LID_PAINT * np.sqrt(closed) * np.sqrt(band))[..., None]
        lid = np.clip(lid, 0, 255).astype(np.uint8)
        covered = np.clip((edge - self._v) / 1.5 + 0.5, 0, 1) * 255
        frame[top:bottom, left:right] = blend(uncovered, lid, covered.astype(np.uint8))

    def _sample(self, v: NDArray[np.float32]) -> RgbImage:
        where = (self._base + (v - self._v)[..., None] * self._down).astype(np.float32)
        return cv2.remap(self._image, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
