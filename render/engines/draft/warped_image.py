"""Puts a frame together: the picture moved by a smooth warp, with the parts that were redrawn in it moved along."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.draft.warp_grid import Box, WarpGrid
from render.engines.faces import RgbImage

PITCH = 8  # pixels


class WarpedImage:
    def __init__(self, picture: RgbImage, region: Box) -> None:
        """Only the region of a frame is touched; a warp has to come to rest at its sides."""
        self.picture = picture
        self.grid = WarpGrid(region, PITCH)
        self._region = region
        # Between pixels, bilinear is soft and bicubic slow. From an enlarged copy bilinear is neither.
        height, width = picture.shape[:2]
        self._enlarged = cv2.resize(picture, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)

    def move(self, frame: RgbImage, shift: NDArray[np.float32], redrawn: list[Box]) -> None:
        """Warp a frame in place. It shows the picture but for the boxes in `redrawn`.

        `shift`: on the grid, in pixels, from where a pixel goes to where it comes from.
        """
        left, top, right, bottom = self._region
        # Pixel centres: x in the picture is 2 x + 0.5 in the copy of twice its size.
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
