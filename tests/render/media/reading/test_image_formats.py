"""Pictures beside JPEG, PNG and WebP, and pictures of the largest size.

The files in `heic/` were made with pillow-heif, of 128 x 96 pixels, red on the left and blue on the right. `turned` and
`mirrored` have the property `irot` or `imir` (ISO/IEC 23008-12, 6.5), the first also says so in its EXIF.
"""

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from accounts.errors import ServiceError
from render.media.image.portrait import normalise_portrait
from render.media.isolation.calls import IMAGE_LIMITS
from render.media.isolation.client import decode
from render.media.probe import ImageFacts, probe
from render.media.reading.image_formats import FORMATS

HEIC = Path(__file__).with_name("heic")
RED, BLUE, LIME, WHITE = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)


def halves(
    left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE, size: tuple[int, int] = (128, 96)
) -> Image.Image:
    picture = Image.new("RGBA" if len(left) == 4 else "RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def saved(picture: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **{"photometric": "rgb", **options})
    return buffer.getvalue()


def portrait_of(content: bytes, folder: Path) -> Image.Image:
    (folder / "source").write_bytes(content)
    portrait = normalise_portrait(folder / "source", folder / "portrait.png", param="image_url")
    with Image.open(portrait.path) as picture:
        picture.load()
    return picture


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """Upper left, upper right, lower left."""
    right, bottom = picture.width - 5, picture.height - 5
    return [picture.getpixel(place) for place in ((4, 4), (right, 4), (4, bottom))]


def refusal(content: bytes, folder: Path) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        portrait_of(content, folder)
    return caught.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("turned", [RED, RED, BLUE]),  # once, though both the property and the EXIF say so
        ("mirrored", [BLUE, RED, BLUE]),
        ("turned-in-exif-only", [RED, BLUE, RED]),  # which the standard does not count
        ("second-is-primary", [LIME, WHITE, LIME]),
        ("transparent", [WHITE, BLUE, WHITE]),
        ("ten-bit", [RED, BLUE, RED]),
    ],
)
def test_heic_is_read_as_phones_show_it(name: str, expected: list[tuple[int, ...]], tmp_path: Path) -> None:
    content = (HEIC / f"{name}.heic").read_bytes()

    picture = portrait_of(content, tmp_path)

    assert np.abs(np.subtract(corners(picture), expected)).max() <= 3
    assert not picture.getexif()
    facts = probe(tmp_path / "source", param="image_url")
    assert facts == ImageFacts("HEIF", picture.width, picture.height)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            lambda content: content.replace(struct.pack(">II", 128, 96), struct.pack(">II", 8192, 6300)),
            "image_too_large",
        ),
        (
            lambda content: content.replace(struct.pack(">II", 128, 96), struct.pack(">II", 60000, 60000)),
            "image_too_large",
        ),
        (lambda content: content.replace(struct.pack(">II", 128, 96), struct.pack(">II", 4096, 4096)), "image_invalid"),
        (lambda content: content[:-40], "image_invalid"),
        (lambda content: content[:200], "image_invalid"),
        (lambda content: content[:-60] + bytes(60), None),  # libde265 conceals it.
    ],
    ids=["51.6 megapixels", "3600 megapixels", "another size than its pixels", "cut", "head", "damaged"],
)
def test_a_hostile_heic_ends_in_a_code(change, code: str | None, tmp_path: Path) -> None:
    content = change((HEIC / "ten-bit.heic").read_bytes())

    if code is None:
        assert portrait_of(content, tmp_path).size == (128, 96)
    else:
        assert refusal(content, tmp_path).code == code


PIXELS = np.asarray(halves())
DEEP = PIXELS.astype(np.uint16) * 257
CLEAR = np.asarray(halves((0, 0, 0, 0), (*BLUE, 255)))
AS_IT_IS, ON_WHITE = [RED, BLUE, RED], [WHITE, BLUE, WHITE]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(halves(), "GIF"), AS_IT_IS),
        (saved(halves(), "GIF", save_all=True, append_images=[halves(LIME)]), AS_IT_IS),
        (saved(halves((0, 0, 0, 0), (*BLUE, 255)), "GIF"), ON_WHITE),
        (saved(halves(), "BMP"), AS_IT_IS),
        (saved(halves().convert("P"), "BMP"), AS_IT_IS),
        (saved(halves(), "BMP")[:22] + struct.pack("<i", -96) + saved(halves(), "BMP")[26:], AS_IT_IS),  # from the top
        (saved(halves(), "TIFF"), AS_IT_IS),
        (saved(halves(), "TIFF", compression="tiff_lzw"), AS_IT_IS),
        (saved(halves(), "TIFF", compression="jpeg", quality=95), AS_IT_IS),
        (saved(halves(), "TIFF", save_all=True, append_images=[halves(LIME)]), AS_IT_IS),
        (saved(halves().convert("CMYK"), "TIFF"), AS_IT_IS),
        (saved(halves(WHITE, (0, 0, 0)).convert("1"), "TIFF", compression="group4"), [WHITE, (0, 0, 0), WHITE]),
        (tiff(DEEP), AS_IT_IS),
        (tiff(DEEP, byteorder=">"), AS_IT_IS),
        (tiff(CLEAR, extrasamples=["unassalpha"]), ON_WHITE),
        (tiff(CLEAR, extrasamples=["assocalpha"]), ON_WHITE),
        (tiff(PIXELS.transpose(2, 0, 1).copy(), planarconfig="separate"), AS_IT_IS),
        (tiff(PIXELS, tile=(32, 32), bigtiff=True), AS_IT_IS),
        (tiff(np.full((96, 128), 0x8080, np.uint16), photometric="minisblack"), [(128, 128, 128)] * 3),
    ],
    ids=[
        *(
            "gif",
            "moving gif",
            "transparent gif",
            "bmp",
            "palette bmp",
            "bmp from the top",
            "tiff",
            "lzw",
            "jpeg in tiff",
        ),
        *(
            "pages",
            "cmyk",
            "fax",
            "16 bits",
            "16 bits big-endian",
            "alpha",
            "premultiplied",
            "planes",
            "tiles in BigTIFF",
        ),
        "grey of 16 bits",
    ],
)
def test_gif_bmp_and_tiff_are_read(content: bytes, expected: list[tuple[int, ...]], tmp_path: Path) -> None:
    assert np.abs(np.subtract(corners(portrait_of(content, tmp_path)), expected)).max() <= 2


def test_a_tiff_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    picture = portrait_of(saved(halves(), "TIFF", exif=exif), tmp_path)

    assert (picture.size, corners(picture)) == ((96, 128), [RED, RED, BLUE])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(PIXELS, extratags=[(50706, "B", 4, (1, 4, 0, 0), True)]), "raw photo"),  # DNG
        (tiff(PIXELS, subfiletype=1), "raw photo"),  # the preview that is the first page of NEF, ARW, PEF
        (tiff(DEEP.transpose(2, 0, 1).copy(), planarconfig="separate"), "stores its pixels in an unusual way"),
        (tiff(np.full((96, 128), 0.5, np.float32), photometric="minisblack"), "32 bits"),
        (tiff(np.full((96, 128, 3), 0.5, np.float32)), "TIFF"),
    ],
    ids=["dng", "preview", "planes of 16 bits", "float", "float colours"],
)
def test_a_tiff_that_cannot_be_read_rightly_is_refused_with_the_reason(
    content: bytes, words: str, tmp_path: Path
) -> None:
    error = refusal(content, tmp_path)

    assert error.code == "image_invalid" and words in error.detail


@pytest.mark.parametrize("size", [(8064, 6048), (16_384, 12_288)], ids=["48 megapixels", "201 megapixels"])
def test_the_largest_jpegs_of_phones_take_little_memory(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("L", size, 200).save(tmp_path / "source", "JPEG", quality=10)
    arguments = {"source": tmp_path / "source", "destination_png": tmp_path / "p.png"}

    portrait = decode(
        "normalise_portrait", arguments, limits=replace(IMAGE_LIMITS, memory_bytes=200 * 2**20), param="x"
    )

    assert (portrait.width, portrait.height) == (2048, 1536)
    with Image.open(portrait.path) as picture:
        assert picture.getpixel((1000, 1000)) == pytest.approx((200, 200, 200), abs=3)


def test_a_long_jpeg_is_as_sharp_as_if_it_had_been_decoded_in_full(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 320, 3), np.uint8)
    large = Image.fromarray(noise).resize((8192, 1024), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 8
    content = saved(large, "JPEG", quality=95, exif=exif)

    picture = portrait_of(content, tmp_path)

    assert picture.size == (256, 2048)
    with Image.open(io.BytesIO(content)) as whole:
        expected = whole.rotate(90, expand=True)
        expected.thumbnail((2048, 2048), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(picture, float) - np.asarray(expected, float)).mean() < 1.5


@pytest.mark.parametrize(("scans", "is_taken"), [(10, True), (14, False)])
def test_a_progressive_jpeg_of_a_hundred_megapixels_may_have_the_usual_scans(
    scans: int, is_taken: bool, tmp_path: Path
) -> None:
    content = saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True)  # of ten scans
    scan = content[content.rindex(b"\xff\xda") : -2]
    frame = content.index(b"\xff\xc2") + 5
    claimed = content[:frame] + struct.pack(">HH", 10_000, 10_000) + content[frame + 4 : -2]
    error = refusal(claimed + scan * (scans - 10) + b"\xff\xd9", tmp_path) if not is_taken else None
    if error:
        assert (error.code, "12 scans" in error.detail) == ("media_too_complex", True)
    else:
        (tmp_path / "source").write_bytes(claimed + b"\xff\xd9")
        assert probe(tmp_path / "source", param="x") == ImageFacts("JPEG", 10_000, 10_000)


def test_the_accepted_formats_are_named(tmp_path: Path) -> None:
    detail = refusal(b"\xff\x0a" + bytes(range(200)), tmp_path).detail

    assert detail.startswith("This is an image (JPEG XL), a format that cannot be read.")
    assert all(name in detail for name in FORMATS.values())
