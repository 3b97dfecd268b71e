"""A source scaled and cropped to the size of the frames."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infinitetalk.buckets import center_crop
from render.frame.boxes import Crop


def fit(image: NDArray[np.uint8], height: int, width: int, crop: Crop | None = None) -> NDArray[np.uint8]:
    """Scale an H x W x 3 image, or its part `crop`, until it covers height x width, then cut out the centre.

    Bilinear on uint8 by Pillow, as in `infinitetalk.conditioning.image.resize_and_crop`.
    """
    if crop is not None:
        top, left, rows, columns = crop
        image = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    plan = center_crop(image.shape[0], image.shape[1], (height, width))
    scaled = Image.fromarray(image).resize(plan.resized[::-1], Image.Resampling.BILINEAR)
    return np.asarray(scaled)[plan.rows, plan.columns]
