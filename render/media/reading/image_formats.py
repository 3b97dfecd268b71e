"""The image formats that are read, how large an image of each may be, and how Pillow is kept from reading others.

What an image costs to decode is counted in `render.media.image.image_cost`.
"""

import pi_heif
from PIL import Image, features

from accounts.errors import ServiceError

MAX_PIXELS = 50_000_000  # a small file can unpack to gigabytes
MAX_HEIC_PIXELS = 51_000_000  # phones save up to 8192 x 6144
# Phones with more pixels save JPEG: 16384 x 12288. It is decoded at a half or a quarter of its size.
MAX_JPEG_PIXELS = 202_000_000

# HEIC is what iPhones save. Only the primary image of a file is read, and by one thread: the limits of the decoding
# process count the time of all threads.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
# Pillow's name of a format -> its usual name. Pillow tries the formats in this order.
FORMATS = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WEBP": "WebP",
    "HEIF": "HEIC",
    "AVIF": "AVIF",
    "GIF": "GIF",
    "BMP": "BMP",
    "TIFF": "TIFF",
}
if not features.check("avif"):
    del FORMATS["AVIF"]
ACCEPTED = ", ".join(FORMATS.values())
# Pillow has one limit for all formats. `check_pixels` has the limit of each, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS

# How the pixels of a TIFF may be packed. The other ways that libtiff reads are seldom used and seldom tested.
_TIFF_PACKINGS = {None, "raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg"}
_TIFF_PACKINGS |= {"group3", "group4", "tiff_ccitt"}
_NEW_SUBFILE_TYPE, _BITS, _PLANES, _DNG_VERSION = 254, 258, 284, 50706  # TIFF 6.0, section 8; DNG 1.7
_REDUCED_IMAGE, _SEPARATE_PLANES = 1, 2  # values of two of these tags
# 32 bits for each value, or colors that are not those of a screen or of print.
_ODD_MODES = ("F", "I", "LAB", "HSV", "YCbCr")


def open_format(source: object) -> Image.Image:
    """Read the header of a file of one of `FORMATS`. Raises what Pillow raises."""
    return Image.open(source, formats=list(FORMATS))  # type: ignore[arg-type]


def check_pixels(image: Image.Image, *, param: str) -> None:
    """Check an image before its pixels are decoded.

    Raises ServiceError image_too_large, or image_invalid for an unusual TIFF.
    """
    name = FORMATS.get(image.format or "", "JPEG")  # Pillow calls a JPEG of several images MPO
    most = {"JPEG": MAX_JPEG_PIXELS, "HEIC": MAX_HEIC_PIXELS}.get(name, MAX_PIXELS)
    if image.width * image.height > most:
        detail = (
            f"The image has {image.width} x {image.height} pixels. A {name} image may have at most"
            f" {most // 1_000_000} megapixels."
        )
        raise ServiceError("image_too_large", detail, param=param)
    if name == "TIFF":
        _check_tiff(image, param)


def _check_tiff(image: Image.Image, param: str) -> None:
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE, 0) & _REDUCED_IMAGE:
        problem = "This is a raw photo from a camera (such as DNG or NEF)"
    elif image.info.get("compression") not in _TIFF_PACKINGS or (
        tags.get(_PLANES) == _SEPARATE_PLANES
        and max(tags.get(_BITS, (8,))) > 8  # Pillow reads the first plane for all.
    ):
        problem = "The TIFF stores its pixels in an unusual way"
    elif image.mode in _ODD_MODES:
        problem = "The TIFF has 32 bits for each value, or colors other than RGB, grey and CMYK"
    else:
        return
    raise ServiceError("image_invalid", f"{problem}. Save it as JPEG or PNG.", param=param)
