"""What is done to the frames of a film before they are scaled, so that they look as in a player.

Deinterlaced, turned as the camera was held, laid on the background where they are transparent, and their colours
converted to BT.709.
"""

import struct
from typing import Any

from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

Filter = tuple[str, str]  # a filter of FFmpeg, and its arguments

ALPHA = ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya")  # What the names of pixel formats with it begin with.
HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
RESERVED = (0, 3)  # ITU-T H.273: primaries and transfers that mean nothing
# ITU-R BT.2408: what paper is in HDR, 203 cd/m2, becomes the white of BT.709; what is brighter is clipped to it.
TO_BT709 = "out_primaries=bt709:out_transfer=bt709"

# Frames of these do not say whether they consist of two fields, only the container does.
WITHOUT_FIELD_ORDER = {"huffyuv", "ffvhuff", "utvideo", "rawvideo", "mjpeg", "mjpegb", "cfhd"}
# FFmpeg's AVFieldOrder, by which field is shown first -> argument of `setfield`.
FIELD_ORDERS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How it is shown: whether rows and columns are exchanged, and then whether it is mirrored left-right, up-down.

    Of the display matrix (ISO/IEC 14496-12, 6.2.2), that is the one of the eight orientations that comes closest.
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
    """By the first frame of a film, for all of it."""
    is_transposed, is_mirrored, is_upside_down = orientation(frame)
    context = stream.codec_context
    order = FIELD_ORDERS.get(context.field_order) if context.name in WITHOUT_FIELD_ORDER else None
    return [
        *([("setfield", order)] if order and not frame.interlaced_frame else []),
        # Frame by frame, where a frame says that it consists of two fields.
        ("bwdif", "mode=send_frame:deint=interlaced"),
        *([("transpose", "cclock_flip")] if is_transposed else []),
        *([("hflip", "")] if is_mirrored else []),
        *([("vflip", "")] if is_upside_down else []),
        *(_on_white() if frame.format.name.startswith(ALPHA) else []),
    ]


def scale_colours(frame: VideoFrame) -> str:
    """Arguments of FFmpeg's `scale` that make BT.709 of the film's colours. What it does not say is taken for that."""
    arguments = f"out_color_matrix=bt709:out_range=tv:{TO_BT709}"
    if frame.color_trc not in HDR:
        # Other curves differ by less than screens do, and every player shows them as that of BT.709.
        arguments += ":in_transfer=bt709"
    if frame.color_primaries in RESERVED:
        arguments += ":in_primaries=bt709"
    return arguments


def _on_white() -> list[Filter]:
    """The negative of the colours on black is the negative of the colours on white."""
    negate = ("negate", "components=r+g+b")
    return [("format", "gbrap"), negate, ("premultiply", "inplace=1"), negate]
