"""The size of a render's frames, and how its source is scaled to it: the same for the draft and the final video.

The tables of sizes are those of the published InfiniteTalk code (`ASPECT_RATIO_627` and `ASPECT_RATIO_960` in
`wan/utils/multitalk_utils.py`): the model was trained on these sizes. The same tables and the same crop stand in
`infinitetalk.buckets`; tests/render/engines compares them.
"""

import math
from collections.abc import Mapping

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.engines.base import Crop, RenderInputs

# Named ratio of height to width -> (height, width). The names are rounded, so they are not computed from the sizes.
BUCKETS: dict[str, dict[float, tuple[int, int]]] = {
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


def frame_size(source_height: int, source_width: int, resolution: str) -> tuple[int, int]:
    """(height, width) in pixels of the published model's frames for a source of this size."""
    return nearest_size(source_height, source_width, BUCKETS[resolution])


def nearest_size(source_height: int, source_width: int, buckets: Mapping[float, tuple[int, int]]) -> tuple[int, int]:
    """(height, width) of the bucket whose ratio is nearest to the source's; of two equally near ones the first."""
    ratio = source_height / source_width
    return buckets[min(buckets, key=lambda named: abs(named - ratio))]


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

    Bilinear on uint8 by Pillow, with Python's round-half-to-even, as the model's own preparation does it.
    """
    if crop is not None:
        top, left, rows, columns = crop
        image = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    source_height, source_width = image.shape[:2]
    scale = max(height / source_height, width / source_width)
    scaled_height, scaled_width = math.ceil(scale * source_height), math.ceil(scale * source_width)
    scaled = Image.fromarray(image).resize((scaled_width, scaled_height), Image.Resampling.BILINEAR)
    top, left = round((scaled_height - height) / 2), round((scaled_width - width) / 2)
    return np.asarray(scaled)[top : top + height, left : left + width]
