"""Where the lips are: the mouth's axes, the contours of the lips and their color.

The axes run through the corners of the mouth: `u` along it (-1 and 1 are the corners), and `v` down, in mouth widths.
Face Mesh places the inner contour some hundredths of a mouth width off, as often in the teeth as in the lip. So it is
moved to where the color changes, along the whole contour at once: the best path by dynamic programming.
"""

from copy import copy
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.draft.mouth.pale import Pale, contrast
from render.engines.draft.warp_grid import Box
from render.engines.faces import Face, Points, RgbImage

Floats = NDArray[np.float32]

# Face Mesh's indices, corner to corner.
UPPER_INNER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LOWER_INNER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
UPPER_OUTER = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
LOWER_OUTER = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]

STATIONS = np.linspace(-1, 1, 41, dtype=np.float32)  # values of u at which contours are stored
MIDDLE = slice(15, 26)

# In mouth widths: how far the contour may lie from the mesh's, and what a step and a distance cost.
OFFSETS = np.linspace(-0.13, 0.13, 53, dtype=np.float32)
STEP_COST = 60.0  # times the square of the change from one station to the next
MESH_COST = 0.6  # times the square of the offset
SHADE = 0.62  # of a lip's light: what is darker is the inside
WIDE_OPEN = 0.12  # mouth widths: such a gap in the mesh is a real one
CLOSED = 0.045  # the mesh reports some gap for closed lips, too
SHOWN = 0.2  # share of the gap: fewer pale pixels are reflections
UPPER_TEETH, LOWER_TEETH = 2.5, 5.0  # the least difference from the lip; the tongue differs from the lower one, too
OWN_TEETH = 0.4  # of the contrast of all teeth: if those of one jaw have less, there are none


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

    def box(self, u: Floats, v: Floats, image: RgbImage) -> Box:
        """The part of the image that holds these points."""
        corners = self.to_image(u, v)
        height, width = image.shape[:2]
        left, top = np.floor(corners.min(axis=0)).astype(int)
        right, bottom = np.ceil(corners.max(axis=0)).astype(int)
        return max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)


class Lips:
    def __init__(
        self, image: RgbImage, face: Face, white: Floats, in_film: bool = False, before: "Lips | None" = None
    ) -> None:
        """white: RGB. in_film: lips count as open, because in a film they open and close by steps too small to be told.
        before: the lips in the frame before, if they were in sight.
        """
        points = face.points
        left, right = points[UPPER_OUTER[0]], points[UPPER_OUTER[-1]]
        width = float(np.linalg.norm(right - left))
        across = (right - left) / width
        down = np.array([-across[1], across[0]], np.float32)
        self.axes = Axes(((left + right) / 2).astype(np.float32), across, down, width)
        self.upper_inner, self.lower_inner = self._contour(points, UPPER_INNER), self._contour(points, LOWER_INNER)
        self.upper_outer, self.lower_outer = self._contour(points, UPPER_OUTER), self._contour(points, LOWER_OUTER)
        # Where the lips part: the mesh's inner corners. Between them and the outer ones there is skin.
        corners = self.axes.to_mouth(points[[UPPER_INNER[0], UPPER_INNER[-1]]])[0]
        self.left, self.right = float(np.clip(corners[0], -1, -0.8)), float(np.clip(corners[1], 0.8, 1))

        self._side_light = np.zeros(3, np.float32)
        colors = [
            self._colors(image, outer, inner)
            for outer, inner in ((self.upper_outer, self.upper_inner), (self.lower_outer, self.lower_inner))
        ]
        # Light from a side: how the logarithms of the lips' colors rise along the mouth.
        along = STATIONS[8:33]
        mean = np.log(np.stack(colors) + 8).mean(axis=(0, 2))
        self._side_light = np.clip(along @ (mean - mean.mean(axis=0)) / (along @ along), -0.5, 0.5)
        upper, lower = (self._even(color, along[:, None]).reshape(-1, 3) for color in colors)
        self.color = np.concatenate([upper, lower]).mean(axis=0)  # RGB
        self.upper_pale = self._pale(image, upper, np.s_[:7], UPPER_TEETH)
        self.lower_pale = self._pale(image, lower, np.s_[5:], LOWER_TEETH)
        if before is not None:
            self.upper_pale = before.upper_pale.renewed(self.upper_pale)
            self.lower_pale = before.lower_pale.renewed(self.lower_pale)

        gap = float((self.lower_inner - self.upper_inner)[MIDDLE].mean())
        self.mesh = np.stack([self.upper_inner, self.lower_inner])
        self.is_open = in_film or gap > WIDE_OPEN or (gap > CLOSED and self._shows_teeth(image, white))
        if self.is_open:
            self.upper_inner, self.lower_inner = self._opened(image)
        else:
            # The dark line between closed lips is more exact than the mesh.
            self.upper_inner = self.lower_inner = self._seam(image)
        self.gap: Floats = self.lower_inner - self.upper_inner
        # What the image shows between the lips, when the contours are those of several frames.
        self.hole = (self.upper_inner, self.lower_inner)

    def with_contours(self, upper_inner: Floats, lower_inner: Floats, color: Floats) -> "Lips":
        lips = copy(self)
        lips.upper_inner, lips.lower_inner = _apart(upper_inner, lower_inner)
        lips.gap, lips.color = lips.lower_inner - lips.upper_inner, color
        lips.hole = (np.minimum(self.upper_inner, lips.upper_inner), np.maximum(self.lower_inner, lips.lower_inner))
        return lips

    def _contour(self, points: Points, indices: list[int]) -> Floats:
        """Values of v at the stations."""
        u, v = self.axes.to_mouth(points[indices])
        order = np.argsort(u)
        contour = np.pad(np.interp(STATIONS, u[order], v[order]), 2, mode="edge")
        return np.convolve(contour, [0.1, 0.2, 0.4, 0.2, 0.1], mode="valid").astype(np.float32)

    def sample(self, image: RgbImage, u: Floats, v: Floats) -> Floats:
        """The colors at (u, v), as they would be without a light from the side."""
        return self._even(cv2.remap(image, self.axes.to_image(u, v), None, cv2.INTER_LINEAR).astype(np.float32), u)

    def _even(self, rgb: Floats, u: Floats) -> Floats:
        return (rgb * np.exp(-self._side_light * u[..., None])).astype(np.float32)

    def _colors(self, image: RgbImage, outer: Floats, inner: Floats) -> Floats:
        """Stations x depths x 3: the middle of a lip, which is a lip even where the mesh is off."""
        share = np.linspace(0.25, 0.7, 6, dtype=np.float32)
        v = outer[8:33, None] + (inner - outer)[8:33, None] * share
        return self.sample(image, np.repeat(STATIONS[8:33, None], 6, axis=1), v)

    def _pale(self, image: RgbImage, lip: Floats, part: slice, least: float) -> Pale:
        """lip: N x 3. The teeth of one jaw are the brightest in this part of the gap, if they differ from the lip."""
        share = np.linspace(0.1, 0.9, 12, dtype=np.float32)
        v = self.upper_inner[8:33, None] + (self.lower_inner - self.upper_inner)[8:33, None] * share
        inside = self.sample(image, np.repeat(STATIONS[8:33, None], 12, axis=1), v)
        own, either = (contrast(lip, colors.reshape(-1, 3), least) for colors in (inside[:, part], inside))
        return own if own.difference > OWN_TEETH * either.difference else either

    def _shows_teeth(self, image: RgbImage, white: Floats) -> bool:
        """Whether enough of the mesh's gap is nearer to white than to the lips. A reflection on a lip has its color."""
        share = np.linspace(0, 1, 16, dtype=np.float32)
        v = self.upper_inner[10:31, None] + (self.lower_inner - self.upper_inner)[10:31, None] * share
        rgb = self.sample(image, np.repeat(STATIONS[10:31, None], 16, axis=1), v)
        lip_red = (self.upper_pale.lip_red + self.lower_pale.lip_red) / 2
        lip_light = (self.upper_pale.lip_light + self.lower_pale.lip_light) / 2
        light = rgb.mean(axis=-1)
        pale = rgb[..., 0] / (3 * light + 1) < (white[0] / white.sum() + lip_red) / 2
        return bool((pale & (light > SHADE * lip_light)).mean() > SHOWN)

    def _opened(self, image: RgbImage) -> tuple[Floats, Floats]:
        """Values of v at the stations: where the lips end and teeth, or the dark, begin."""
        middle: Floats = (self.upper_inner + self.lower_inner) * np.float32(0.5)
        costs = np.stack([
            self._costs(image, self.upper_inner, self.upper_outer, middle, self.upper_pale, 1),
            self._costs(image, self.lower_inner, self.lower_outer, middle, self.lower_pale, -1),
        ])  # fmt: skip
        moved = OFFSETS[_cheapest_paths(costs, STEP_COST * (OFFSETS[:, None] - OFFSETS) ** 2)] * [[1], [-1]]
        smooth = cv2.GaussianBlur(moved, (0, 0), 1.0, sigmaY=1e-3, borderType=cv2.BORDER_REFLECT)
        upper, lower = (self.mesh + smooth).astype(np.float32)
        return _apart(upper, lower)

    def _costs(self, image: RgbImage, mesh: Floats, outer: Floats, middle: Floats, pale: Pale, inwards: int) -> Floats:
        """By station and offset from the mesh: what it costs to end the lip there. inwards: 1 is down, -1 up."""
        v = mesh[:, None] + inwards * OFFSETS
        rgb = self.sample(image, np.repeat(STATIONS[:, None], len(OFFSETS), axis=1), v)
        rgb = cv2.GaussianBlur(rgb, (3, 1), 0.6)
        dark = (SHADE * pale.lip_light - rgb.mean(axis=-1)) / (0.2 * pale.lip_light) + 0.5
        inside = np.maximum(pale(rgb), np.clip(dark, 0, 1))

        # What lies beyond the lip, or beyond the middle, has no say.
        counts = ((v - outer[:, None]) * inwards > 0.01) & ((middle[:, None] - v) * inwards > 0)
        step = OFFSETS[1] - OFFSETS[0]
        before = np.cumsum(inside * counts, axis=1) - inside * counts
        after = np.cumsum(((1 - inside) * counts)[:, ::-1], axis=1)[:, ::-1]
        corner = 1 + 30 * np.abs(STATIONS[:, None]) ** 8
        cost = step * (before + 0.8 * after) + MESH_COST * OFFSETS**2 * corner
        cost += 10 * np.maximum((outer[:, None] - v) * inwards + 0.02, 0)  # some lip remains
        return cost.astype(np.float32)

    def _seam(self, image: RgbImage) -> Floats:
        """Values of v at the stations: the darkest line between closed lips."""
        middle: Floats = (self.upper_inner + self.lower_inner) * np.float32(0.5)
        offsets = np.linspace(-0.05, 0.05, 21, dtype=np.float32)
        u = np.repeat(STATIONS[:, None], len(offsets), axis=1)
        light = self.sample(image, u, middle[:, None] + offsets) @ np.array([0.299, 0.587, 0.114], np.float32)
        light = cv2.GaussianBlur(light, (0, 0), 1.0)
        contrast = np.ptp(light, axis=1, keepdims=True) + 8
        darkest = offsets[np.argmin(light / contrast + (offsets / 0.06) ** 2 * 0.5, axis=1)]
        darkest *= 1 - STATIONS**6  # near the corners, the mesh is more exact than a shadow
        return middle + cv2.GaussianBlur(darkest[:, None], (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)[:, 0]


def _apart(upper: Floats, lower: Floats) -> tuple[Floats, Floats]:
    seam = (upper + lower) / 2
    return np.minimum(upper, seam), np.maximum(lower, seam)


def _cheapest_paths(costs: Floats, steps: Floats) -> NDArray[np.intp]:
    """N x rows: by matrix of `costs` one column for each row, so that the sum of costs and steps is least."""
    total, came = costs[:, 0], []
    for column in range(1, costs.shape[1]):
        reached = total[:, None] + steps  # by the next column and the one before
        came.append(reached.argmin(axis=2))
        total = reached.min(axis=2) + costs[:, column]
    paths = [[int(end)] for end in total.argmin(axis=1)]
    for origin in reversed(came):
        for number, path in enumerate(paths):
            path.append(int(origin[number, path[-1]]))
    return np.array(paths)[:, ::-1]
