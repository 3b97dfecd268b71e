"""A portrait normalised for the engines: upright RGB, without metadata."""

import io
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

from accounts.errors import ServiceError
from render.media.atomic_file import atomic_file
from render.media.image.color_codes import icc_profile
from render.media.image.image_cost import check_image_cost
from render.media.reading.image_formats import MAX_JPEG_PIXELS, check_pixels, open_format
from render.media.reading.wrong_file import why_not_image

MIN_SIDE = 64  # pixels, after scaling down to MAX_SIDE
MAX_SIDE = 2048
BACKGROUND = (255, 255, 255)  # behind cut-out portraits
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF 6.0, section 8
# Raised by Pillow's decoders for damaged files: OSError and ValueError are documented, the others were observed.
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, RuntimeError, struct.error)


@dataclass(frozen=True)
class Portrait:
    path: Path
    width: int  # pixels
    height: int


def normalise_portrait(source: Path, destination_png: Path, *, param: str) -> Portrait:
    """Write `source` as an 8-bit sRGB PNG: upright, opaque, at most 2048 pixels on each side, without EXIF (locations).

    Of an animated file only the first image is decoded. Raises ServiceError: image_invalid, image_too_large,
    image_too_small or media_too_complex.
    """
    try:
        with open_image(source, param=param) as image:
            _check_size(image.width, image.height, param)
            _shrink_while_decoding(image)
            image.load()
            upright = _upright_rgb(image, source)
    except DECODE_ERRORS as error:
        raise ServiceError("image_invalid", why_not_image(source), param=param) from error
    upright.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    clean = Image.new("RGB", upright.size)  # a new image has none of the old one's metadata
    clean.paste(upright)
    with atomic_file(destination_png) as partial:
        clean.save(partial, "PNG", compress_level=1)
    return Portrait(destination_png, clean.width, clean.height)


def open_image(source: Path, *, param: str) -> Image.Image:
    """Read the header of an image in one of `image_formats.FORMATS`.

    Raises one of `DECODE_ERRORS` for any other file; ServiceError image_invalid for an unusual TIFF, image_too_large,
    or media_too_complex.
    """
    try:
        check_image_cost(source, param=param)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = open_format(source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = MAX_JPEG_PIXELS // 1_000_000
        raise ServiceError("image_too_large", f"The image has more than {limit} megapixels.", param=param) from error
    try:
        check_pixels(image, param=param)
    except ServiceError:
        image.close()
        raise
    return image


def _check_size(width: int, height: int, param: str) -> None:
    shrink = min(1.0, MAX_SIDE / max(width, height))
    if min(width, height) * shrink < MIN_SIDE:
        detail = f"The image is too small: {width} x {height} pixels. At least {MIN_SIDE} on each side are needed"
        detail += f", after it is scaled down to at most {MAX_SIDE}." if shrink < 1 else "."
        raise ServiceError("image_too_small", detail, param=param)


def _shrink_while_decoding(image: Image.Image) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth of its size, if its longer side keeps MAX_SIDE."""
    shrink = MAX_SIDE / max(image.size)
    if shrink < 1:
        image.draft(None, (math.ceil(image.width * shrink), math.ceil(image.height * shrink)))


def _upright_rgb(image: Image.Image, source: Path) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        upright = upright.convert("I").point(lambda value: value / 257).convert("L")
        if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts only images of 8 bits
            upright = ImageOps.invert(upright)
    upright = _to_srgb(upright, image.info.get("icc_profile") or icc_profile(image, source))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", upright.size, BACKGROUND), upright).convert("RGB")
    return upright.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    opaque = image if image.mode in ("L", "CMYK") else image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            opaque,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return image  # the profile is broken, or for other channels than these
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted
