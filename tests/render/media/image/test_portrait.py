import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from accounts.errors import ServiceError
from render.media.image.portrait import normalise_portrait


@pytest.fixture
def normalise(tmp_path: Path) -> Callable[..., Image.Image]:
    def normalise(picture: Image.Image, image_format: str = "PNG", **options: object) -> Image.Image:
        picture.save(tmp_path / "source", image_format, **options)
        portrait = normalise_portrait(tmp_path / "source", tmp_path / "portrait.png", param="image_url")
        with Image.open(portrait.path) as result:
            result.load()
        assert (result.format, result.mode, result.size) == ("PNG", "RGB", (portrait.width, portrait.height))
        return result

    return normalise


def test_it_turns_the_picture_upright_and_forgets_where_it_was_taken(normalise: Callable[..., Image.Image]) -> None:
    picture = Image.new("RGB", (100, 80), "blue")
    picture.paste("red", (0, 0, 50, 80))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    exif.get_ifd(0x8825)[2] = (TiffImagePlugin.IFDRational(52), TiffImagePlugin.IFDRational(0), 0)

    result = normalise(picture, "JPEG", exif=exif, quality=95)

    assert result.size == (80, 100)
    assert result.getpixel((40, 10))[0] > 200
    assert not result.getexif()
    assert not {"exif", "icc_profile", "dpi"} & set(result.info)


TRANSPARENT = Image.new("RGBA", (64, 64), (255, 0, 0, 0))


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (TRANSPARENT, {}),
        (TRANSPARENT.convert("LA"), {}),
        (TRANSPARENT.quantize(), {}),
        (Image.new("RGB", (64, 64), (255, 0, 0)), {"transparency": (255, 0, 0)}),
        (Image.new("L", (64, 64), 7), {"transparency": 7}),
    ],
    ids=["RGBA", "LA", "palette", "RGB key", "L key"],
)
def test_it_puts_white_behind_what_is_transparent(
    picture: Image.Image, options: dict[str, object], normalise: Callable[..., Image.Image]
) -> None:
    assert normalise(picture, **options).getpixel((9, 9)) == (255, 255, 255)


def test_it_keeps_the_middle_of_16_bits_in_the_middle(normalise: Callable[..., Image.Image]) -> None:
    picture = Image.fromarray(np.full((64, 64), 0x8080, np.uint16))

    assert normalise(picture).getpixel((9, 9)) == (128, 128, 128)


def test_it_reads_print_colours(normalise: Callable[..., Image.Image]) -> None:
    red, green, blue = normalise(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", quality=95).getpixel((9, 9))

    assert red > 200 > 60 > max(green, blue)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_it_applies_the_colour_profile(mode: str, normalise: Callable[..., Image.Image]) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    blue_for_red = srgb.replace(b"rXYZ", b"####").replace(b"bXYZ", b"rXYZ").replace(b"####", b"bXYZ")

    result = normalise(Image.new("RGB", (64, 64), (255, 0, 0)).convert(mode), icc_profile=blue_for_red)

    assert result.getpixel((9, 9)) == pytest.approx((0, 0, 255), abs=2)


def test_it_ignores_a_broken_colour_profile(normalise: Callable[..., Image.Image]) -> None:
    picture = Image.new("RGB", (64, 64), (10, 20, 30))

    assert normalise(picture, icc_profile=b"broken").getpixel((9, 9)) == (10, 20, 30)


def test_it_limits_the_longer_side(normalise: Callable[..., Image.Image]) -> None:
    assert normalise(Image.new("RGB", (4096, 1000))).size == (2048, 500)


def test_it_takes_the_first_of_several_pictures(normalise: Callable[..., Image.Image]) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]

    result = normalise(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)

    assert result.getpixel((9, 9)) == (255, 0, 0)


def picture_bytes(size: tuple[int, int], image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, image_format)
    return buffer.getvalue()


def blank_png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    return buffer.getvalue()


BAD_FILES = {
    "empty": (b"", "image_invalid"),
    "html": (b"<html>", "image_invalid"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image_invalid"),
    "gif": (b"GIF89a" + bytes(100), "image_invalid"),
    "cut png": (picture_bytes((100, 100))[:9000], "image_invalid"),
    "cut jpeg": (picture_bytes((100, 100), "JPEG")[:4000], "image_invalid"),
    "cut webp": (picture_bytes((100, 100), "WEBP")[:4000], "image_invalid"),
    "cut avif": (picture_bytes((100, 100), "AVIF")[:1000], "image_invalid"),
    "damaged avif": (picture_bytes((100, 100), "AVIF")[:250] + bytes(9000), "image_invalid"),
    "small": (picture_bytes((63, 100)), "image_too_small"),
    "strip": (blank_png((10_000, 200)), "image_too_small"),
    "50 megapixels": (blank_png((10_001, 5000)), "image_too_large"),
    "100, where Pillow warns": (blank_png((10_000, 10_000)), "image_too_large"),
    "200, where Pillow refuses": (blank_png((20_000, 10_000)), "image_too_large"),
}


@pytest.mark.parametrize(("content", "code"), BAD_FILES.values(), ids=BAD_FILES)
def test_it_refuses(content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)

    with pytest.raises(ServiceError) as caught:
        normalise_portrait(tmp_path / "source", tmp_path / "portrait.png", param="image_url")

    assert (caught.value.code, caught.value.param) == (code, "image_url")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
