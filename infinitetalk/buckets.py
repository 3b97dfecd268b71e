"""The sizes that the model was trained on: of frames in pixels, of chunks in frames. Plain arithmetic, without torch.

`render` imports this module: a named exception of the import law, so that the model and the service share one table,
one crop rule and one division into chunks. It must not import torch, nor anything that does.

The tables are `ASPECT_RATIO_627` and `ASPECT_RATIO_960` of the published code's `wan/utils/multitalk_utils.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, log, sqrt
from typing import Any

Size = tuple[int, int]  # height, width in pixels
# Ratio of height to width -> size. The ratios are names, rounded by the publishers: do not compute them from the sizes.
Buckets = Mapping[float, Size]

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
SIDE_UNIT = 16  # Sides in pixels are multiples of it: 8 pixels are a latent, and 2 latents a token.
AREA_WEIGHT = 0.25  # of an error of the area beside one of the ratio: a wrong ratio cuts something off
CHUNK_FRAMES = 81
MOTION_FRAMES = 9  # the last frames of a chunk, from which the next chunk starts


@dataclass(frozen=True)
class Sizes:
    """The sizes of one checkpoint. Only a tiny checkpoint has others than the published ones."""

    buckets: Mapping[str, Buckets]  # by resolution
    num_frames_per_chunk: int
    motion_frames: int

    @classmethod
    def of_checkpoint(cls, config: Mapping[str, Any]) -> "Sizes":
        """config: the content of the base model's config.json; without an entry `sizes`, the published sizes."""
        if "sizes" not in config:
            return PUBLISHED_SIZES
        sizes = config["sizes"]
        buckets = {
            resolution: {float(ratio): (height, width) for ratio, (height, width) in table.items()}
            for resolution, table in sizes["buckets"].items()
        }
        return cls(buckets, sizes["num_frames_per_chunk"], sizes["motion_frames"])

    def pixels(self, resolution: str) -> int:
        """The area of the square bucket, or of the one nearest to a square, which stands for the resolution."""
        height, width = nearest_bucket(1, 1, self.buckets[resolution])
        return height * width


PUBLISHED_SIZES = Sizes(BUCKETS, CHUNK_FRAMES, MOTION_FRAMES)


def nearest_bucket(height: int, width: int, buckets: Buckets) -> Size:
    """The size whose named ratio is nearest to height / width; the first one in the table wins a tie."""
    ratio = height / width
    return buckets[min(buckets, key=lambda named: abs(named - ratio))]


def size_near(ratio: float, pixels: int) -> Size:
    """The size of about `pixels` pixels whose height / width is about `ratio`; both sides are multiples of 16.

    Unlike a bucket, it cuts hardly anything off an image of this ratio. Of the sizes near to the exact one, that with
    the smallest error wins: of the ratio, and with a quarter of the weight of the area, both as logarithms. The smaller
    one wins a tie.
    """
    exact = sqrt(pixels * ratio), sqrt(pixels / ratio)

    def error(size: Size) -> tuple[float, int]:
        height, width = size
        of_ratio, of_area = abs(log(height / width / ratio)), abs(log(height * width / pixels))
        # Rounded: the last digits of a logarithm may differ between machines, and a tie must be one on each.
        return round(of_ratio + AREA_WEIGHT * of_area, 9), height * width

    return min(product(_sides_near(exact[0]), _sides_near(exact[1])), key=error)


def _sides_near(pixels: float) -> list[int]:
    """The two multiples of SIDE_UNIT below and above a length, SIDE_UNIT at least."""
    units = int(pixels // SIDE_UNIT)
    return [SIDE_UNIT * count for count in range(max(1, units - 1), units + 3)]


@dataclass(frozen=True)
class CenterCrop:
    """Resize an image to `resized`, then cut out `target` from row `top` and column `left` on. All in pixels."""

    target: Size
    resized: Size
    top: int
    left: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.target[0])

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.target[1])


def center_crop(height: int, width: int, target: Size) -> CenterCrop:
    """Scale an image of height x width until it covers the target, then cut off the same amount on both sides.

    Scaled sides are rounded up, half a pixel to the even one (Python's `round`), as in the training data.
    """
    scale = max(target[0] / height, target[1] / width)
    resized = ceil(scale * height), ceil(scale * width)
    return CenterCrop(target, resized, round((resized[0] - target[0]) / 2), round((resized[1] - target[1]) / 2))


@dataclass(frozen=True)
class Chunk:
    """The frames that the model generates at once; it begins with the last frames of the chunk before."""

    index: int
    start: int  # first frame generated, motion frames included
    num_frames: int  # 4n + 1
    keep_from: int  # number of its first frames that the chunk before has already shown
    is_last: bool

    @property
    def stop(self) -> int:
        return self.start + self.num_frames


def plan_chunks(
    num_frames: int, *, num_frames_per_chunk: int = CHUNK_FRAMES, motion_frames: int = MOTION_FRAMES
) -> list[Chunk]:
    """Cover `num_frames` with chunks that each begin with the last `motion_frames` of the chunk before.

    A video shorter than a chunk is one chunk of the next 4n + 1 frames, at least 5. The last chunk may reach past the
    end of the video; its surplus frames are cut off.
    """
    if num_frames <= num_frames_per_chunk:
        return [Chunk(0, 0, max(5, (num_frames + 2) // 4 * 4 + 1), 0, is_last=True)]
    step = num_frames_per_chunk - motion_frames
    number = 1 + -(-(num_frames - num_frames_per_chunk) // step)
    return [
        Chunk(index, index * step, num_frames_per_chunk, motion_frames if index else 0, is_last=index == number - 1)
        for index in range(number)
    ]
