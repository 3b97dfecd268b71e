"""Pictures whose colours are described by codes, without a profile."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.media.image.portrait import normalise_portrait
from tests.render.media_makers import png_chunk

SRGB, P3, BT2020 = 1, 12, 9
SRGB_CURVE, PQ, HLG = 13, 16, 18


def coded(image_format: str, colour: tuple[int, int, int], primaries: int, transfer: int, folder: Path) -> Path:
    path = folder / "source"
    Image.new("RGB", (64, 64), colour).save(path, image_format, **({"quality": 100} if image_format == "AVIF" else {}))
    content = path.read_bytes()
    if image_format == "AVIF":
        place = content.index(b"colrnclx") + 8
        content = content[:place] + struct.pack(">HH", primaries, transfer) + content[place + 4 :]
    else:
        content = content[:33] + png_chunk(b"cICP", bytes([primaries, transfer, 0, 1])) + content[33:]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("image_format", ["PNG", "AVIF"])
@pytest.mark.parametrize(
    ("primaries", "transfer", "stored", "shown"),
    [
        (SRGB, SRGB_CURVE, (200, 100, 60), (200, 100, 60)),
        (77, 77, (200, 100, 60), (200, 100, 60)),
        (P3, SRGB_CURVE, (200, 128, 100), (212, 127, 96)),  # as Display P3's own profile converts it
        (BT2020, SRGB_CURVE, (128, 128, 128), (128, 128, 128)),
        (BT2020, PQ, (148, 148, 148), (255, 255, 255)),  # 58 % is paper
        (BT2020, PQ, (0, 0, 0), (0, 0, 0)),
        (BT2020, PQ, (255, 255, 255), (255, 255, 255)),
        (SRGB, HLG, (191, 191, 191), (255, 255, 255)),  # 75 % is paper
        (BT2020, HLG, (97, 97, 97), (100, 100, 100)),  # 38 %: a grey card, 26 cd/m2 (ITU-R BT.2408)
        (BT2020, PQ, (97, 97, 97), (100, 100, 100)),
    ],
)
def test_codes_of_colours_are_followed(
    primaries: int, transfer: int, stored: tuple[int, ...], shown: tuple[int, ...], image_format: str, tmp_path: Path
) -> None:
    source = coded(image_format, stored, primaries, transfer, tmp_path)

    portrait = normalise_portrait(source, tmp_path / "portrait.png", param="image_url")

    with Image.open(portrait.path) as result:
        assert result.getpixel((30, 30)) == pytest.approx(shown, abs=4)


def test_a_tiff_of_16_bits_whose_zero_is_white_is_no_negative(tmp_path: Path) -> None:
    values = np.full((64, 64), 50_000, np.uint16)
    Image.fromarray(values).save(tmp_path / "source", "TIFF", tiffinfo={262: 0})

    portrait = normalise_portrait(tmp_path / "source", tmp_path / "portrait.png", param="image_url")

    with Image.open(portrait.path) as result:
        assert result.getpixel((9, 9)) == pytest.approx((60, 60, 60), abs=2)
