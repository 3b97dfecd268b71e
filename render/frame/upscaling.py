"""Enlarges the frames of an engine to the size that a project asks for, before they are encoded.

The frame is sharpened a little at its own size, enlarged with the Lanczos-3 kernel, and kept within what the frame
shows around each pixel. So its edges become sharp without the bright and dark lines that sharpening and Lanczos leave
beside them, and weak noise is not amplified.

The bytes are the same on every processor. Pillow resizes with integer weights; for all sizes of the engines, none of
them is so near to a half that the last bit of a floating-point sine could change it. Of OpenCV, only steps are used
that are exact; `cv2.resize` with INTER_CUBIC or INTER_LANCZOS4 does not promise to be.
"""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infinitetalk.buckets import Size
from render.engines.faces import RgbImage

# Measured on photographs that were made smaller: against bicubic, this strength and threshold gain 0.5 to 1.7 dB of
# PSNR, and lose 0.02 dB at most where JPEG (quality 85) or noise (3 levels) was added. Stronger sharpening loses more.
BINOMIAL = np.array([1, 2, 1], np.float32)  # A blur of 0.7 pixels, in both directions; the sum is 16.
IGNORED_DETAIL = 32  # in 1/16 of a brightness level: noise and traces of compression are mostly below 2 levels
NEIGHBOURS = np.ones((3, 3), np.uint8)


class Upscaler:
    """Enlarges H x W x 3 RGB frames of one size; H is even, since the upper and lower half are enlarged apart.

    Returns each frame as it is if there is nothing to do.
    """

    def __init__(self, source: Size, size: Size) -> None:
        """Of the frames and of the enlarged ones: height and width in pixels, see `render.frame.size.upscaled_size`."""
        self._source, self.size = source, size
        self._halves = ThreadPoolExecutor(2, thread_name_prefix="upscaling")  # Pillow and OpenCV release the GIL.

    def __call__(self, frame: RgbImage) -> RgbImage:
        """frame: of the size that was announced, else ValueError."""
        if frame.shape[:2] != self._source:
            raise ValueError(f"A frame is {frame.shape[:2]}, and {self._source} was announced.")
        if self.size == self._source:
            return frame
        sharp = Image.fromarray(_sharpened(frame))
        upper, lower = self._halves.map(lambda half: self._enlarged_half(sharp, half), (0, 1))
        size = self.size[::-1]
        darkest = cv2.resize(cv2.erode(frame, NEIGHBOURS), size, interpolation=cv2.INTER_LINEAR_EXACT)
        brightest = cv2.resize(cv2.dilate(frame, NEIGHBOURS), size, interpolation=cv2.INTER_LINEAR_EXACT)
        bounded: RgbImage = cv2.min(cv2.max(np.concatenate((upper, lower)), darkest), brightest)
        return bounded

    def _enlarged_half(self, image: Image.Image, half: int) -> RgbImage:
        """The upper or lower half. Pillow reads what lies across the border, so the halves meet without a seam."""
        (height, width), middle = self.size, self._source[0] // 2
        box = (0, half * middle, self._source[1], (half + 1) * middle)
        return np.asarray(image.resize((width, height // 2), Image.Resampling.LANCZOS, box=box))


def _sharpened(frame: RgbImage) -> RgbImage:
    """Add 5/8 of the brightness's fine detail, above IGNORED_DETAIL. The colors keep theirs: it is mostly noise."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    blurred = cv2.sepFilter2D(grey, cv2.CV_16S, BINOMIAL, BINOMIAL, borderType=cv2.BORDER_REPLICATE)  # times 16
    detail: NDArray[np.int16] = (grey.astype(np.int16) << 4) - blurred
    detail -= np.clip(detail, -IGNORED_DETAIL, IGNORED_DETAIL)
    levels = (5 * detail + 64) >> 7  # 5/8 of detail / 16, rounded: it never exceeds 16 bits
    sharpened: RgbImage = cv2.add(frame, cv2.merge([levels] * 3), dtype=cv2.CV_8U)
    return sharpened
