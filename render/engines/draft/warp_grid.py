"""A coarse grid for smooth maps: they are computed on a few thousand points and then interpolated to all pixels."""

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # left, top, right, bottom


class WarpGrid:
    """A grid over a box of the image, `pitch` pixels apart, reaching one point beyond each side."""

    def __init__(self, box: Box, pitch: int) -> None:
        left, top, right, bottom = box
        self.pitch = pitch
        self._width, self._height = right - left, bottom - top
        self._columns, self._rows = -(-self._width // pitch) + 2, -(-self._height // pitch) + 2
        # At the centres of cells, as cv2.resize interpolates.
        inset = (pitch - 1) / 2 - pitch
        x = left + inset + pitch * np.arange(self._columns)
        y = top + inset + pitch * np.arange(self._rows)
        self.points = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)  # rows x columns x 2, pixels

    def index(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert pixels to columns and rows of the grid."""
        columns_and_rows: NDArray[np.float32] = (points - self.points[0, 0]) / np.float32(self.pitch)
        return columns_and_rows

    def spread(self, values: NDArray[np.float32], start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Interpolate values on the grid to the box's pixels, linearly: height x width x channels.

        start, stop: of the box's rows, when not all are needed.
        """
        stop = self._height if stop is None else stop
        # One more row of the grid on either side, so that the part is what it is in the whole.
        first, last = start // self.pitch, min(-(-stop // self.pitch) + 2, self._rows)
        size = (self._columns * self.pitch, (last - first) * self.pitch)
        pixels = cv2.resize(values[first:last], size, interpolation=cv2.INTER_LINEAR)
        above = self.pitch * (1 - first)
        return pixels[above + start : above + stop, self.pitch : self.pitch + self._width]
