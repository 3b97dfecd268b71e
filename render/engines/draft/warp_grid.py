"""Smooth maps are computed on a coarse grid and spread over the pixels: a frame has time for a few thousand points."""

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # left, top, right, bottom


class WarpGrid:
    """A grid over a box of the picture, `pitch` pixels apart, reaching one point beyond each side."""

    def __init__(self, box: Box, pitch: int) -> None:
        left, top, right, bottom = box
        self.pitch = pitch
        self._width, self._height = right - left, bottom - top
        self._columns, self._rows = -(-self._width // pitch) + 2, -(-self._height // pitch) + 2
        # In the middle of cells, as cv2.resize takes them.
        inset = (pitch - 1) / 2 - pitch
        x = left + inset + pitch * np.arange(self._columns)
        y = top + inset + pitch * np.arange(self._rows)
        self.points = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)  # rows x columns x 2, pixels

    def index(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """From pixels to columns and rows of the grid."""
        columns_and_rows: NDArray[np.float32] = (points - self.points[0, 0]) / np.float32(self.pitch)
        return columns_and_rows

    def spread(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """From the grid to the box's pixels, linearly: height x width x channels."""
        size = (self._columns * self.pitch, self._rows * self.pitch)
        pixels = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
        return pixels[self.pitch : self.pitch + self._height, self.pitch : self.pitch + self._width]
