"""An image of any size as a tensor of the model's size, resized and cropped to its center."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infinitetalk.buckets import CenterCrop, Size, center_crop
from infinitetalk.errors import InvalidInput

ImageArray = NDArray[np.uint8]  # H x W x 3, RGB

# An image is refused when the crop keeps less than this share of it: to resize a strip may take gigabytes.
SMALLEST_PART = 1 / 16


def plan_crop(height: int, width: int, target: Size) -> CenterCrop:
    """`center_crop` of an image of height x width. Raises InvalidInput `image_invalid` for a long, thin strip."""
    crop = center_crop(height, width, target)
    if target[0] * target[1] < SMALLEST_PART * crop.resized[0] * crop.resized[1]:
        raise InvalidInput("image_invalid", f"An image of {width} x {height} is too long and thin to be cropped.")
    return crop


def resize_and_crop(image: ImageArray, target: Size) -> torch.Tensor:
    """1, 3, 1, height, width in [-1, 1], float32. Raises InvalidInput `image_invalid`."""
    crop = plan_crop(image.shape[0], image.shape[1], target)
    resized = Image.fromarray(image).resize(crop.resized[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(resized)[crop.rows, crop.columns]
    tensor = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)
    return ((tensor / 255 - 0.5) * 2)[None, :, None]
