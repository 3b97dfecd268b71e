"""From a picture of any size to the model's: the bucket of its aspect ratio, resized and cropped to the middle."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infinitetalk.errors import InvalidInput

Picture = NDArray[np.uint8]  # H x W x 3, RGB
Size = tuple[int, int]  # height, width in pixels
Buckets = Mapping[float, Size]  # by the ratio height / width that gives each its name

BUCKETS: dict[str, Buckets] = {
    "480p": {
        0.26: (320, 1216),
        0.38: (384, 1024),
        0.50: (448, 896),
        0.67: (512, 768),
        0.82: (576, 704),
        1.00: (640, 640),
        1.22: (704, 576),
        1.50: (768, 512),
        1.86: (832, 448),
        2.00: (896, 448),
        2.50: (960, 384),
        2.83: (1088, 384),
        3.60: (1152, 320),
        3.80: (1216, 320),
        4.00: (1280, 320),
    },
    "720p": {
        0.22: (448, 2048),
        0.29: (512, 1792),
        0.36: (576, 1600),
        0.45: (640, 1408),
        0.55: (704, 1280),
        0.63: (768, 1216),
        0.76: (832, 1088),
        0.88: (896, 1024),
        1.00: (960, 960),
        1.14: (1024, 896),
        1.31: (1088, 832),
        1.50: (1152, 768),
        1.58: (1216, 768),
        1.82: (1280, 704),
        1.91: (1344, 704),
        2.20: (1408, 640),
        2.30: (1472, 640),
        2.67: (1536, 576),
        2.89: (1664, 576),
        3.62: (1856, 512),
        3.75: (1920, 512),
    },
}
# A picture so long that less than this part of it would be left is refused: to resize it might take gigabytes.
SMALLEST_PART = 1 / 16


@dataclass(frozen=True)
class Crop:
    """How a picture becomes one of `target` size: resized to `resized`, then cut from `top`, `left` on."""

    target: Size
    resized: Size
    top: int
    left: int


def nearest_bucket(height: int, width: int, buckets: Buckets) -> Size:
    """The size of the bucket whose name is nearest to height / width; the first of two that are equally near."""
    ratio = height / width
    return buckets[min(buckets, key=lambda named: abs(named - ratio))]


def plan_crop(height: int, width: int, target: Size) -> Crop:
    """Fill the target and cut off what is too much on both sides. Raises InvalidInput `image_invalid`."""
    scale = max(target[0] / height, target[1] / width)
    resized = ceil(scale * height), ceil(scale * width)
    if target[0] * target[1] < SMALLEST_PART * resized[0] * resized[1]:
        raise InvalidInput("image_invalid", f"A picture of {width} x {height} is too long and thin to be cropped.")
    return Crop(target, resized, round((resized[0] - target[0]) / 2), round((resized[1] - target[1]) / 2))


def resize_and_crop(picture: Picture, target: Size) -> torch.Tensor:
    """1, 3, 1, height, width in [-1, 1], float32. Raises InvalidInput `image_invalid`."""
    crop = plan_crop(picture.shape[0], picture.shape[1], target)
    image = Image.fromarray(picture).resize(crop.resized[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image)[crop.top : crop.top + target[0], crop.left : crop.left + target[1]]
    tensor = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)
    return ((tensor / 255 - 0.5) * 2)[None, :, None]
