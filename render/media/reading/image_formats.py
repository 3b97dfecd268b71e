"""The formats of pictures that are read, what each may hold, and how Pillow is made to read no other.

What a picture costs to decode, `render.media.image.decode_cost`, is another question.
"""

import pi_heif
from PIL import Image, features

from accounts.errors import ServiceError

# A small file can unpack to gigabytes.
MAX_PIXELS = 50_000_000
# As phones save it: 8192 x 6144.
MAX_HEIC_PIXELS = 51_000_000
# Phones with more save JPEG: 16384 x 12288. It is decoded at a half or a quarter of its size, without the whole one.
MAX_JPEG_PIXELS = 202_000_000

# HEIC is what iPhones save. Of its pictures only the primary one is read, and by one thread: the limits count the time
# of all threads.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
# Pillow's names of the formats that are read -> the names that people know. The order is that in which they are tried.
FORMATS = {
    **{"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "HEIF": "HEIC"},
    **({"AVIF": "AVIF"} if features.check("avif") else {}),
    **{"GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF"},
}
ACCEPTED = ", ".join(FORMATS.values())
# Pillow knows one limit for all formats, and its own errors; `check_pixels` comes before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS

# TIFF: how the pixels are packed. What else libtiff reads is seldom used and seldom tested.
_TIFF_PACKINGS = {None, "raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg"}
_TIFF_PACKINGS |= {"group3", "group4", "tiff_ccitt"}
_NEW_SUBFILE_TYPE, _BITS, _PLANES, _DNG_VERSION = 254, 258, 284, 50706  # TIFF 6.0, section 8; DNG 1.7
_REDUCED, _SEPARATE = 1, 2
# 32 bits for each value, or colours that are not those of a screen or of print.
_ODD_MODES = ("F", "I", "LAB", "HSV", "YCbCr")


def open_format(source: object) -> Image.Image:
    """Read the header of a file of one of `FORMATS`. Raises what Pillow raises."""
    return Image.open(source, formats=list(FORMATS))  # type: ignore[arg-type]


def check_pixels(image: Image.Image, *, param: str) -> None:
    """Before they are decoded. Raises ServiceError image_too_large, or image_invalid for an unusual TIFF."""
    name = FORMATS.get(image.format or "", "JPEG")  # of a JPEG with several pictures Pillow says MPO
    most = {"JPEG": MAX_JPEG_PIXELS, "HEIC": MAX_HEIC_PIXELS}.get(name, MAX_PIXELS)
    if image.width * image.height > most:
        detail = f"The picture is {image.width} x {image.height}; a {name} may have {most // 1_000_000} megapixels."
        raise ServiceError("image_too_large", detail, param=param)
    if name == "TIFF":
        _check_tiff(image, param)


def _check_tiff(image: Image.Image, param: str) -> None:
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE, 0) & _REDUCED:
        what = "This is a raw photo of a camera (such as DNG or NEF)"
    elif image.info.get("compression") not in _TIFF_PACKINGS or (
        tags.get(_PLANES) == _SEPARATE and max(tags.get(_BITS, (8,))) > 8  # Pillow reads the first plane for all.
    ):
        what = "The TIFF is packed in an unusual way"
    elif image.mode in _ODD_MODES:
        what = "The TIFF has 32 bits for each value, or colours other than RGB, grey and CMYK"
    else:
        return
    raise ServiceError("image_invalid", f"{what}; save it as JPEG or PNG.", param=param)
