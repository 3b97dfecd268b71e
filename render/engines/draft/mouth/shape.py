"""The geometry of a mouth: its axes, the contours of its lips, and how each point of the lower face moves in a pose.

The axes run through the corners of the mouth: `u` along it (-1 and 1 are the corners), and `v` down, in mouth widths.
The face above the gap between the lips and the face below it move apart, so they are two layers with displacements of
their own, which agree beyond the corners. Displacements are weighted sums of four smooth fields (open, close, wide,
round), so a pose is four numbers.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.faces import CHIN, Face, RgbImage

Floats = NDArray[np.float32]
Layer = Literal["upper", "lower"]

# Face Mesh's indices, corner to corner.
UPPER_INNER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LOWER_INNER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
UPPER_OUTER = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
LOWER_OUTER = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]
NOSE_BASE = 2
EYES_OUTER = [33, 263]
JAW_SIDES = [58, 288]  # on the outline of the face, at the height of the mouth

STATIONS = np.linspace(-1, 1, 41, dtype=np.float32)  # values of u at which contours are stored

MAX_OPENING = 0.26  # mouth widths between the lips at opening 1
UPPER_SHARE_OPENING = 0.1  # the upper lip's share of the motion when the mouth opens
UPPER_SHARE_CLOSING = 0.35
LIP_MARGIN = 0.014  # mouth widths
CHIN_SHARE = 0.8  # of the lower lip's motion: the jaw turns, so the chin moves less than the teeth

# A relaxed mouth is about as wide as 0.58 of the distance between the outer corners of the eyes, a grin 0.8.
RELAXED_WIDTH = 0.6
SMILE_RELAXATION = 0.4  # share of a full rounding by which speaking reduces a full grin


@dataclass(frozen=True)
class MouthPose:
    opening: float  # from 0 (lips closed) to 1 (as far as the engine opens them)
    spread: float  # from -1 (rounded) to 1 (wide)


@dataclass(frozen=True)
class Axes:
    """The mouth's axes in the image."""

    centre: Floats  # pixels, between the corners
    across: Floats  # unit vectors
    down: Floats
    width: float  # pixels

    def to_mouth(self, points: Floats) -> tuple[Floats, Floats]:
        offset = points - self.centre
        u, v = offset @ self.across * (2 / self.width), offset @ self.down / self.width
        return np.asarray(u, np.float32), np.asarray(v, np.float32)

    def to_image(self, u: Floats, v: Floats) -> Floats:
        offset = u[..., None] / 2 * self.across + v[..., None] * self.down
        return (self.centre + offset * self.width).astype(np.float32)


class MouthShape:
    def __init__(self, image: RgbImage, face: Face) -> None:
        points = face.points
        left, right = points[UPPER_OUTER[0]], points[UPPER_OUTER[-1]]
        width = float(np.linalg.norm(right - left))
        across = (right - left) / width
        down = np.array([-across[1], across[0]], np.float32)
        self.axes = Axes(((left + right) / 2).astype(np.float32), across, down, width)

        self.upper_inner, self.lower_inner = self._contour(points, UPPER_INNER), self._contour(points, LOWER_INNER)
        self.upper_outer, self.lower_outer = self._contour(points, UPPER_OUTER), self._contour(points, LOWER_OUTER)
        self.nose_base = float(self.axes.to_mouth(points[NOSE_BASE])[1])
        chin_u, chin_v = self.axes.to_mouth(points[CHIN])
        self.chin = (float(chin_u), float(chin_v))

        eyes = np.linalg.norm(points[EYES_OUTER[1]] - points[EYES_OUTER[0]])
        self.smile = float(np.clip((width / eyes - RELAXED_WIDTH) / 0.2, 0, 1))
        # The motion of the corners fades out within the cheeks, so that the outline of the face stays in place. A field
        # that fades faster than it moves would fold over, so narrow cheeks allow less.
        outline = np.abs(self.axes.to_mouth(points[JAW_SIDES])[0])
        self._cheek = float(np.clip(0.5 * (outline.min() - 1), 0.25, 0.6))
        self._narrowing = min(0.165 + 0.05 * self.smile, 0.45 * self._cheek)

        gap = np.maximum(self.lower_inner - self.upper_inner, 0)
        self.is_open = _shows_inside(image, points, float(gap[15:26].mean()))
        if not self.is_open:
            # Face Mesh reports a gap of some hundredths for closed lips, too: the dark line between them is more exact.
            self.upper_inner = self.lower_inner = self._seam(image)
            gap = np.zeros_like(gap)
        else:
            # A little inside the lips, so that no rim of teeth moves with them.
            self.upper_inner = self.upper_inner - LIP_MARGIN * (1 - STATIONS**2)
            self.lower_inner = self.lower_inner + LIP_MARGIN * (1 - STATIONS**2)
            gap = np.maximum(self.lower_inner - self.upper_inner, 0)
        self.gap = gap
        # Visible teeth end at the upper lip of the image: there are no more behind it to uncover.
        self._upper_share = 0.0 if self.is_open else UPPER_SHARE_OPENING
        self.natural_opening = float(gap[15:26].mean())  # mouth widths

    def weights(self, pose: MouthPose) -> Floats:
        """4 weights, of the fields open, close, wide and round."""
        aperture = np.clip(pose.opening, 0, 1) * MAX_OPENING
        spread = np.clip(pose.spread - SMILE_RELAXATION * self.smile, -1, 1)
        closing = (1 - aperture / self.natural_opening) if aperture < self.natural_opening else 0.0
        return np.array(
            [max(aperture - self.natural_opening, 0), closing, max(spread, 0), max(-spread, 0)], dtype=np.float32
        )

    def fields(self, u: Floats, v: Floats, layer: Layer) -> Floats:
        """4 x ... x 2, pixels: the displacement of the points (u, v) by each of the four fields at weight 1."""
        along, downward = np.zeros((4, *u.shape), np.float32), np.zeros((4, *u.shape), np.float32)
        chin_u, chin_v = self.chin

        # Both layers share the corners. `stretch` is odd and linear inside the mouth, `corners` is a bump at each.
        beside = np.maximum(np.abs(u) - 1, 0)
        near = np.exp(-((v / np.where(v < 0, 0.32, 0.42)) ** 2))  # does not move the folds beside the nose
        stretch = u * np.exp(-((beside / self._cheek) ** 2)) * near
        corners = np.exp(-(((np.abs(u) - 1) / 0.55) ** 2)) * near
        along[0] = -0.10 * stretch
        downward[0] = 0.12 * corners
        along[2], downward[2] = 0.075 * stretch, -0.03 * corners
        along[3], downward[3] = -self._narrowing * stretch, 0.04 * self.smile * corners

        lens = np.maximum(1 - np.abs(u) ** 2.4, 0)
        lips = np.exp(-((u / 0.7) ** 2))
        if layer == "upper":
            lip, outer = self._at(u, self.upper_inner), self._at(u, self.upper_outer)
            up = np.clip((lip - v) / (lip - self.nose_base), 0, 1)  # 0 at the lip, 1 at the nose
            hold = 1 - _ease(up)
            downward[0] -= self._upper_share * lens * hold
            downward[1] += UPPER_SHARE_CLOSING * self._at(u, self.gap) * hold
            downward[2] += 0.015 * lips * _bump(lip - v, lip - outer)
            downward[3] -= 0.035 * lips * _bump(lip - v, lip - outer)
        else:
            lip, outer = self._at(u, self.lower_inner), self._at(u, self.lower_outer)
            below = (v - lip) / (chin_v - lip)  # 0 at the lip, 1 at the chin
            to_jaw = _ease(np.clip(below / 0.5, 0, 1))
            jaw = np.exp(-(np.abs((u - chin_u * np.clip(below, 0, 1)) / 1.7) ** 2.5))
            carried = (1 - (1 - CHIN_SHARE) * np.clip(below, 0, 1)) * (1 - _ease(np.clip((v - chin_v) / 0.5, 0, 1)))
            downward[0] += (1 - self._upper_share) * carried * (lens + (jaw - lens) * to_jaw)
            gap, widest = self._at(u, self.gap), float(self.gap.max())
            downward[1] -= (1 - UPPER_SHARE_CLOSING) * carried * (gap + (0.7 * widest * jaw - gap) * to_jaw)
            downward[2] -= 0.02 * lips * _bump(v - lip, outer - lip)
            downward[3] += 0.045 * lips * _bump(v - lip, outer - lip)

        moved = along[..., None] * self.axes.across + downward[..., None] * self.axes.down
        return (moved * self.axes.width).astype(np.float32)

    def _contour(self, points: Floats, indices: list[int]) -> Floats:
        """Values of v at the stations."""
        u, v = self.axes.to_mouth(points[indices])
        order = np.argsort(u)
        contour = np.pad(np.interp(STATIONS, u[order], v[order]), 2, mode="edge")
        return np.convolve(contour, [0.1, 0.2, 0.4, 0.2, 0.1], mode="valid").astype(np.float32)

    def _at(self, u: Floats, contour: Floats) -> Floats:
        return np.interp(u, STATIONS, contour).astype(np.float32)

    def _seam(self, image: RgbImage) -> Floats:
        """Values of v at the stations: the darkest line between closed lips."""
        middle: Floats = (self.upper_inner + self.lower_inner) * np.float32(0.5)
        offsets = np.linspace(-0.05, 0.05, 21, dtype=np.float32)
        u = np.repeat(STATIONS[:, None], len(offsets), axis=1)
        where = self.axes.to_image(u, middle[:, None] + offsets)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        light = cv2.remap(grey, where, None, cv2.INTER_LINEAR).astype(np.float32)
        light = cv2.GaussianBlur(light, (0, 0), 1.0)
        contrast = np.ptp(light, axis=1, keepdims=True) + 8
        darkest = offsets[np.argmin(light / contrast + (offsets / 0.06) ** 2 * 0.5, axis=1)]
        darkest *= 1 - STATIONS**6  # near the corners, the mesh is more exact than a shadow
        return middle + cv2.GaussianBlur(darkest[:, None], (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)[:, 0]


def _shows_inside(image: RgbImage, points: Floats, gap: float) -> bool:
    """Whether the mouth is really open: by a wide gap, or by something between the lips that is paler than they are."""
    if gap < 0.045 or gap > 0.12:
        return gap > 0.12
    low = np.maximum(points[UPPER_OUTER + LOWER_OUTER].min(axis=0).astype(int), 0)
    high = points[UPPER_OUTER + LOWER_OUTER].max(axis=0).astype(int) + 2
    image, points = image[low[1] : high[1], low[0] : high[0]], points - low
    inside = _polygon(image, points[UPPER_INNER + LOWER_INNER[-2:0:-1]])
    lips = _polygon(image, points[UPPER_OUTER + LOWER_OUTER[-2:0:-1]]) & ~inside
    red = image[..., 0] / (image.sum(axis=-1, dtype=np.float32) + 1)
    light = image.mean(axis=-1)
    teeth = inside & (red < np.median(red[lips]) - 0.035) & (light > np.median(light[lips]))
    return bool(teeth.sum() > 0.12 * inside.sum())


def _polygon(image: RgbImage, corners: Floats) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return mask > 0


def _ease(share: Floats) -> Floats:
    eased: Floats = share * share * (3 - 2 * share)
    return eased


def _bump(distance: Floats, lip: Floats) -> Floats:
    """0 at the inner edge of a lip, 1 at its outer edge, then fading within about twice its thickness."""
    share = np.clip(distance / np.maximum(lip, 0.03), 0, None)
    bump: Floats = np.where(share < 1, share, np.exp(-(((share - 1) / 1.6) ** 2))).astype(np.float32)
    return bump
