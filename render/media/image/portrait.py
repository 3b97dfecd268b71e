"""A portrait as the engines want it: upright RGB without anything else in the file."""

import io
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

from accounts.errors import ServiceError
from render.media.image.color_codes import profile_of
from render.media.image.decode_cost import check_cost
from render.media.reading.image_formats import MAX_JPEG_PIXELS, check_pixels, open_format
from render.media.reading.wrong_file import instead_of_picture
from render.media.whole_file import whole_file

MIN_SIDE = 64  # pixels, after scaling down
MAX_SIDE = 2048
BACKGROUND = (255, 255, 255)  # behind cut-out portraits
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF 6.0, section 8
# What Pillow's decoders raise for damaged files: documented are OSError and ValueError, the rest was met.
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, RuntimeError, struct.error)


@dataclass(frozen=True)
class Portrait:
    path: Path
    width: int  # pixels
    height: int


def normalise_portrait(source: Path, destination_png: Path, *, param: str) -> Portrait:
    """Write `source` as an 8-bit sRGB PNG: upright, opaque, at most 2048 pixels long, without EXIF (it tells places).

    Of an animated file the first picture is decoded, and no other. Raises ServiceError: image_invalid, image_too_large,
    image_too_small or media_too_complex.
    """
    try:
        with open_picture(source, param=param) as image:
            _check_size(image.width, image.height, param)
            _shrink_while_decoding(image)
            image.load()
            picture = _upright_rgb(image, source)
    except DECODE_ERRORS as error:
        raise ServiceError("image_invalid", instead_of_picture(source), param=param) from error
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    clean = Image.new("RGB", picture.size)  # a new picture has none of the old one's metadata
    clean.paste(picture)
    with whole_file(destination_png) as partial:
        clean.save(partial, "PNG", compress_level=1)
    return Portrait(destination_png, clean.width, clean.height)


def open_picture(source: Path, *, param: str) -> Image.Image:
    """Read the header of a picture of one of `picture_formats.FORMATS`.

    Raises one of `DECODE_ERRORS` for anything else; ServiceError: image_invalid for a picture of such a format that
    uses it in an unusual way, image_too_large, media_too_complex.
    """
    try:
        check_cost(source, param=param)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = open_format(source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = MAX_JPEG_PIXELS // 1_000_000
        raise ServiceError("image_too_large", f"The picture has more than {limit} megapixels.", param=param) from error
    try:
        check_pixels(image, param=param)
    except ServiceError:
        image.close()
        raise
    return image


def _check_size(width: int, height: int, param: str) -> None:
    shrink = min(1.0, MAX_SIDE / max(width, height))
    if min(width, height) * shrink < MIN_SIDE:
        detail = f"The picture is too small: {width} x {height} pixels. At least {MIN_SIDE} on each side are needed"
        detail += f", after it was shrunk to at most {MAX_SIDE}." if shrink < 1 else "."
        raise ServiceError("image_too_small", detail, param=param)


def _shrink_while_decoding(image: Image.Image) -> None:
    """A JPEG is decoded at a half, a quarter or an eighth of its size, as long as it stays as long as MAX_SIDE."""
    shrink = MAX_SIDE / max(image.size)
    if shrink < 1:
        image.draft(None, (math.ceil(image.width * shrink), math.ceil(image.height * shrink)))


def _upright_rgb(image: Image.Image, source: Path) -> Image.Image:
    picture = ImageOps.exif_transpose(image)
    if picture.mode.startswith("I;16"):
        picture = picture.convert("I").point(lambda value: value / 257).convert("L")
        if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # of 8 bits, Pillow does it itself
            picture = ImageOps.invert(picture)
    picture = _to_srgb(picture, image.info.get("icc_profile") or profile_of(image, source))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, BACKGROUND), picture).convert("RGB")
    return picture.convert("RGB")


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return picture
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    colours = picture if picture.mode in ("L", "CMYK") else picture.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            colours,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return picture  # a profile that is broken or for other channels says nothing about these colours
    if converted is None:
        return picture
    if alpha is not None:
        converted.putalpha(alpha)
    return converted
