"""The size of a render's frames, and how its source is scaled to it: the same for the draft and the final video.

The tables of sizes and the crop rule are the model's: `infinitetalk.buckets`.
"""

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infinitetalk.buckets import BUCKETS, center_crop, nearest_bucket
from render.engines.base import Crop, RenderInputs


def frame_size(source_height: int, source_width: int, resolution: str) -> tuple[int, int]:
    """(height, width) in pixels of the published model's bucket for such a source."""
    return nearest_bucket(source_height, source_width, BUCKETS[resolution])


def source_size(inputs: RenderInputs) -> tuple[int, int]:
    """(height, width) of the source in pixels."""
    if inputs.video is not None:
        with av.open(str(inputs.video)) as container:
            stream = container.streams.video[0]
            return stream.height, stream.width
    assert inputs.portrait is not None
    with Image.open(inputs.portrait) as image:
        return image.height, image.width


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
