"""A moving mouth in a still image: the lips and the jaw are warped apart, and the gap between the lips is drawn."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.draft.mouth.interior import MouthInterior
from render.engines.draft.mouth.lips import STATIONS, Floats
from render.engines.draft.mouth.look import Look
from render.engines.draft.mouth.shape import NECK, MouthPose, MouthShape
from render.engines.draft.warp_grid import Box, WarpGrid
from render.engines.faces import Face, RgbImage

MAX_SHIFT = 0.35  # mouth widths: no pixel moves further, whatever the pose
INVERSION_STEPS = 4
EDGE = 0.15  # of the region's size: within it the warp fades to nothing at the border


class Mouth:
    """Prepared once for an image and a face in it; the result of `draw` then depends on the pose alone."""

    def __init__(self, image: RgbImage, face: Face, look: Look | None = None) -> None:
        """look: of this face, if it is not to be judged by this image alone."""
        look = look or Look.at(image, face)
        self.shape = MouthShape(face, look)
        axes, lips = self.shape.axes, self.shape.lips
        self.region = _region(self.shape, image)
        left, top, right, bottom = self.region
        self._size = (right - left, bottom - top)

        # Each frame inverts the fields, so they are kept on a coarse grid.
        self._grid = WarpGrid(self.region, max(round(axes.width / 28), 2))
        self._index, self._cells = self._grid.index(self._grid.points), np.float32(1 / self._grid.pitch)
        u, v = axes.to_mouth(self._grid.points)
        fade = self._fade(self._grid.points)[..., None]
        self._upper, self._lower = (fields * fade for fields in self.shape.fields(u, v))

        origin = np.array([left, top], np.float32)
        self._upper_edge = axes.to_image(STATIONS, lips.upper_inner) - origin
        self._lower_edge = axes.to_image(STATIONS, lips.lower_inner) - origin
        self._upper_edge_fields = self.shape.fields(STATIONS, lips.upper_inner)[0]
        self._lower_edge_fields = self.shape.fields(STATIONS, lips.lower_inner)[1]

        self._interior = MouthInterior(image, look, self.shape, self.region)
        self._image = self._without_hole(image, max(look.blur)) if lips.is_open else image

    def draw(self, frame: RgbImage, pose: MouthPose) -> None:
        """Overwrite the mouth's region of a frame, which must equal the image there."""
        left, top, right, bottom = self.region
        weights = self.shape.weights(pose)
        upper_edge = self._upper_edge + np.tensordot(weights, self._upper_edge_fields, 1)
        lower_edge = self._lower_edge + np.tensordot(weights, self._lower_edge_fields, 1)

        # The middle line divides the layers; each is sampled only in the rows where it can be seen.
        axes = self.shape.axes
        middle = (upper_edge + lower_edge) / 2
        aside, down = axes.across * axes.width * 3, axes.down * axes.width * 4
        first, last = middle[0] - aside, middle[-1] + aside
        line = np.concatenate([[first], middle, [last]])
        reach = line[(line[:, 0] >= 0) & (line[:, 0] < right - left), 1]
        slope = abs(float(aside[1]))
        margin = 0.06 * axes.width + 3 + (slope if len(reach) < len(line) else 0)
        start = int(np.clip(reach.min() - margin, 0, bottom - top))
        stop = int(np.clip(reach.max() + margin, 0, bottom - top))

        mixed = np.empty((bottom - top, right - left, 3), np.uint8)
        mixed[:stop] = self._sample(self._backward(np.tensordot(weights, self._upper, 1), 0, stop))
        below = self._sample(self._backward(np.tensordot(weights, self._lower, 1), start, bottom - top))
        mask = self._mask(np.concatenate([line, [last + down, first + down]]), 0.008)
        mixed[start:stop] = blend(mixed[start:stop], below[: stop - start], mask[start:stop])
        mixed[stop:] = below[stop - start :]
        middle_station = len(STATIONS) // 2
        jaw = float((weights @ self._lower_edge_fields[:, middle_station]) @ axes.down)
        self._interior.draw(mixed, upper_edge, lower_edge, pose, jaw, float(weights[1]))
        frame[top:bottom, left:right] = mixed

    def _without_hole(self, image: RgbImage, blur: float) -> RgbImage:
        """The image with lips that go on where it shows teeth or the dark, so that none of them travels with a lip."""
        axes, (top_edge, bottom_edge) = self.shape.axes, self.shape.lips.hole
        down = np.repeat(np.array([top_edge.min() - 0.1, bottom_edge.max() + 0.1], np.float32), 2)
        left, top, right, bottom = axes.box(np.array([-1, 1, -1, 1], np.float32), down, image)
        x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
        points = np.stack([x, y], axis=-1)
        u, v = axes.to_mouth(points)
        margin = np.clip((1 - np.abs(u)) / 0.12, 0, 1) * (1.5 * blur + 1) / axes.width
        upper = np.interp(u, STATIONS, top_edge) - margin
        lower = np.interp(u, STATIONS, bottom_edge) + margin
        hole = (v > upper) & (v < lower) & (np.abs(u) < 1)
        nearest = np.where(v < (upper + lower) / 2, upper, lower).astype(np.float32)
        source = np.where(hole[..., None], axes.to_image(u, nearest), points)
        window = cv2.remap(image, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        smooth = cv2.GaussianBlur(window, (0, 0), max(0.02 * axes.width, 1))
        inner = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 1) * hole  # streaks are smoothed, the edges stay
        filled = image.copy()
        filled[top:bottom, left:right] = cv2.blendLinear(window, smooth, 1 - inner, inner)
        return filled

    def _sample(self, where: Floats) -> RgbImage:
        return cv2.remap(self._image, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def maps(self, pose: MouthPose) -> tuple[Floats, Floats]:
        """The place that each pixel of the region comes from, in both layers. Height x width x 2, pixels."""
        weights = self.shape.weights(pose)
        height = self._size[1]
        upper, lower = (np.tensordot(weights, fields, 1) for fields in (self._upper, self._lower))
        return self._backward(upper, 0, height), self._backward(lower, 0, height)

    def _backward(self, forward: Floats, start: int, stop: int) -> Floats:
        """Invert a forward field on the grid by fixed-point iteration, and interpolate it to rows of the region."""
        limit = np.float32(MAX_SHIFT * self.shape.axes.width)
        source = self._index - forward * self._cells
        for _ in range(INVERSION_STEPS):
            shift = cv2.remap(forward, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            source = self._index - shift * self._cells
        return self._grid.spread(self._grid.points - np.clip(shift, -limit, limit), start, stop)

    def _fade(self, points: Floats) -> Floats:
        left, top, right, bottom = self.region
        x, y = points[..., 0], points[..., 1]
        across = np.minimum(x - left, right - 1 - x) / (EDGE * (right - left))
        down = np.minimum(y - top, bottom - 1 - y) / (EDGE * (bottom - top))
        share = np.clip(np.minimum(across, down), 0, 1)
        eased: Floats = share * share * (3 - 2 * share)
        return eased

    def _mask(self, outline: Floats, softness: float) -> NDArray[np.uint8]:
        width, height = self._size
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(mask, (0, 0), max(softness * self.shape.axes.width, 0.6))


def blend(under: RgbImage, over: RgbImage, mask: NDArray[np.uint8]) -> RgbImage:
    share = mask.astype(np.float32) / 255
    return cv2.blendLinear(under, over, 1 - share, share)


def _region(shape: MouthShape, image: RgbImage) -> Box:
    """From the nose to below the chin, and as wide as the cheeks move, within the image."""
    left, right = shape.sides
    chin = shape.chin[1] + NECK + 0.1
    down = np.array([shape.nose_base, shape.nose_base, chin, chin], np.float32)
    return shape.axes.box(np.array([left, right, left, right], np.float32), down, image)
