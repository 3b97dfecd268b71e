"""Moves an image by a smooth warp, together with the parts that were redrawn in it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.draft.warp_grid import Box, WarpGrid
from render.engines.faces import RgbImage

PITCH = 8  # pixels


class WarpedImage:
    def __init__(self, image: RgbImage, region: Box) -> None:
        """region: the part of each frame that is changed; a warp must fade to nothing at its sides."""
        self.image = image
        self.grid = WarpGrid(region, PITCH)
        self._region = region
        # Bilinear interpolation blurs, and bicubic is slow. Bilinear interpolation of an enlarged copy does neither.
        height, width = image.shape[:2]
        self._enlarged = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)

    def move(self, frame: RgbImage, shift: NDArray[np.float32], redrawn: list[Box]) -> None:
        """Warp a frame in place. It equals the image except in the boxes of `redrawn`.

        shift: on the grid, in pixels, from the place of a pixel in the result to its place in the frame.
        """
        left, top, right, bottom = self._region
        # By the centres of pixels, x in the image is 2 x + 0.5 in the enlarged copy.
        where = self.grid.spread(2 * (self.grid.points + shift) + np.float32(0.5))
        moved = cv2.remap(self._enlarged, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        reach = int(np.abs(shift).max()) + 2
        for box in redrawn:
            window = np.s_[
                max(box[1] - reach, top) - top : min(box[3] + reach, bottom) - top,
                max(box[0] - reach, left) - left : min(box[2] + reach, right) - left,
            ]
            source = (where[window] - np.float32(0.5)) / 2
            moved[window] = cv2.remap(frame, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        frame[top:bottom, left:right] = moved
