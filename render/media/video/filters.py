"""FFmpeg filters that make the frames of a video look as in a player, before they are scaled.

Frames are deinterlaced, turned upright, laid on white where they are transparent, and converted to BT.709.
"""

import struct
from typing import Any

from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

Filter = tuple[str, str]  # name and arguments

ALPHA = ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya")  # names of pixel formats with alpha begin with these
HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
RESERVED = (0, 3)  # ITU-T H.273: codes of primaries and transfers without a meaning
# HDR reference white, 203 cd/m2 (ITU-R BT.2408), becomes the white of BT.709; brighter pixels are clipped to it.
TO_BT709 = "out_primaries=bt709:out_transfer=bt709"

# Codecs whose frames do not tell whether they are interlaced; only the container does.
WITHOUT_FIELD_ORDER = {"huffyuv", "ffvhuff", "utvideo", "rawvideo", "mjpeg", "mjpegb", "cfhd"}
# FFmpeg's AVFieldOrder -> argument of `setfield`: whether the top or the bottom field is shown first.
FIELD_ORDERS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is shown: whether rows and columns are exchanged, then mirrored left-right, then mirrored up-down.

    It is the one of the eight orientations that is closest to the display matrix (ISO/IEC 14496-12, 6.2.2).
    """
    side_data: Any = frame.side_data
    if "DISPLAYMATRIX" not in side_data:
        return False, False, False
    matrix = bytes(side_data["DISPLAYMATRIX"])
    right_of_x, down_of_x, _, right_of_y, down_of_y = struct.unpack_from("=5i", matrix)
    if abs(right_of_x) + abs(down_of_y) >= abs(down_of_x) + abs(right_of_y):
        return False, right_of_x < 0, down_of_y < 0
    return True, right_of_y < 0, down_of_x < 0


def before_scaling(frame: VideoFrame, stream: VideoStream) -> list[Filter]:
    """The filters for frames like this one, in order."""
    is_transposed, is_mirrored, is_upside_down = orientation(frame)
    context = stream.codec_context
    order = FIELD_ORDERS.get(context.field_order) if context.name in WITHOUT_FIELD_ORDER else None
    filters: list[Filter] = []
    if order and not frame.interlaced_frame:
        filters.append(("setfield", order))
    filters.append(("bwdif", "mode=send_frame:deint=interlaced"))  # only frames that are marked as interlaced
    if is_transposed:
        filters.append(("transpose", "cclock_flip"))
    if is_mirrored:
        filters.append(("hflip", ""))
    if is_upside_down:
        filters.append(("vflip", ""))
    if frame.format.name.startswith(ALPHA):
        filters += _on_white()
    return filters


def color_arguments(frame: VideoFrame) -> str:
    """Arguments of FFmpeg's `scale` that convert to BT.709. Colors without a code are taken for BT.709."""
    arguments = f"out_color_matrix=bt709:out_range=tv:{TO_BT709}"
    if frame.color_trc not in HDR:
        # Other curves differ by less than screens do, and every player shows them as BT.709.
        arguments += ":in_transfer=bt709"
    if frame.color_primaries in RESERVED:
        arguments += ":in_primaries=bt709"
    return arguments


def _on_white() -> list[Filter]:
    """Lay colors on white. `premultiply` lays them on black: so they are negated before and after."""
    negate = ("negate", "components=r+g+b")
    return [("format", "gbrap"), negate, ("premultiply", "inplace=1"), negate]
