"""The size of the video's frames: of the draft and of the final video the same."""

from infinitetalk.buckets import PUBLISHED_SIZES, Size, size_near
from render.parameters import UPSCALES, Parameters

SOURCE = "source"  # as the source is, but not longer than MAX_RATIO
# height / width. The names are the customer's, width:height.
RATIOS = {"16:9": 9 / 16, "9:16": 16 / 9, "1:1": 1.0, "4:5": 5 / 4, "4:3": 3 / 4, "2:1": 1 / 2}
ASPECT_RATIOS = [SOURCE, *RATIOS]
MAX_RATIO = 3.0  # of the longer side to the shorter one; of a longer source, a part is shown


def usual_pixels(resolution: str) -> int:
    """About how many pixels a frame has; an engine with a tiny model has its own."""
    return PUBLISHED_SIZES.pixels(resolution)


def frame_size(source_height: int, source_width: int, aspect_ratio: str, pixels: int) -> Size:
    """(height, width), multiples of 16, of about as many pixels. The source's own size is in pixels, too."""
    ratio = RATIOS.get(aspect_ratio) or min(max(source_height / source_width, 1 / MAX_RATIO), MAX_RATIO)
    return size_near(ratio, pixels)


def upscaled_size(size: Size, parameters: Parameters) -> Size:
    """The size of the finished video for an engine's frames of this size: the shorter side is as `upscale` says.

    Both sides are even. A named aspect ratio becomes exact: 848 x 480 becomes 1920 x 1080, and its width is stretched
    by 0.6 %. Nothing is made smaller.
    """
    shorter = UPSCALES[parameters.upscale]
    if shorter is None or min(size) >= shorter:
        return size
    ratio = RATIOS.get(parameters.aspect_ratio, size[0] / size[1])
    longer = 2 * round(shorter * max(ratio, 1 / ratio) / 2)
    return (longer, shorter) if ratio > 1 else (shorter, longer)
