"""Pictures upright, films at 25 frames a second whatever their own rate.

The grey of a film's frame is 4 x its number.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from infinitetalk.conditioning import source
from infinitetalk.conditioning.audio import open_media
from infinitetalk.conditioning.source import SourceVideo, StillImage, open_source
from infinitetalk.errors import InvalidInput
from infinitetalk.video_end import VIDEO_ENDS, source_frame


def write_film(path: Path, rate: Fraction | int = 25, frames: int = 30, *, bright_corner: bool = False) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), 4 * number, np.uint8)
            if bright_corner:
                pixels[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, 1 / Fraction(rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def number_of(picture: np.ndarray) -> int:
    return round(picture.mean() / 4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "h264"])
def test_a_film_at_25_is_taken_frame_by_frame(tmp_path: Path, suffix: str) -> None:
    film = open_source(write_film(tmp_path / f"a.{suffix}"))

    assert not film.is_still
    assert [number_of(film.frame(number)) for number in range(30)] == [*range(30)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (50, [0, 2, 4, 6, 8]),
        (60, [0, 2, 5, 7, 9]),
        (30, [0, 1, 2, 3, 4, 6]),
        (Fraction(30_000, 1001), [0, 1, 2, 3, 4, 6]),
        (10, [0, 0, 0, 1, 1, 2, 2, 2]),
    ],
)
def test_at_other_rates_it_is_the_frame_on_show(tmp_path: Path, suffix: str, rate, expected: list[int]) -> None:
    film = open_source(write_film(tmp_path / f"a.{suffix}", rate))

    assert [number_of(film.frame(number)) for number in range(len(expected))] == expected


def test_the_last_frame_goes_on_and_it_can_be_wound_back(tmp_path: Path) -> None:
    film = open_source(write_film(tmp_path / "a.mp4"))

    assert [number_of(film.frame(number)) for number in (10, 1000, 1001, 29, 3, 3, 0)] == [10, 29, 29, 29, 3, 3, 0]


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
        ("loop", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
        ("bounce", [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
    ],
)
def test_past_its_end_a_film_stays_begins_anew_or_goes_back(tmp_path: Path, end: str, shown: list[int]) -> None:
    path = write_film(tmp_path / "a.mp4", frames=4)

    forward, backward = open_source(path, video_end=end), open_source(path, (0, 0, 16, 16), end)

    assert [source_frame(number, 4, end) for number in range(10)] == shown
    assert [number_of(forward.frame(number)) for number in range(10)] == shown
    assert [number_of(backward.frame(number)) for number in reversed(range(10))] == shown[::-1]


def test_a_film_of_one_frame_has_no_other_one() -> None:
    for end in VIDEO_ENDS:
        assert [source_frame(number, 1, end) for number in range(5)] == [0] * 5
    with pytest.raises(ValueError, match="backwards"):
        source_frame(0, 4, "backwards")


@pytest.mark.parametrize("end", VIDEO_ENDS)
def test_past_its_end_a_film_is_decoded_once_a_frame_at_most(tmp_path: Path, monkeypatch, end: str) -> None:
    film, opened = open_source(write_film(tmp_path / "a.mp4"), video_end=end), []
    monkeypatch.setattr(source, "open_media", lambda path: opened.append(path) or open_media(path))
    for number in range(30):
        film.frame(number)
    assert not opened  # Its length is not asked for before it is needed.

    for number in (1000, 1072, 1144):
        opened.clear()
        assert number_of(film.frame(number)) == source_frame(number, 30, end)
        assert len(opened) <= (end != "hold")


@pytest.mark.parametrize(
    ("clockwise", "shape", "corner"),
    [(0, (48, 64), (4, 4)), (90, (64, 48), (4, -4)), (180, (48, 64), (-4, -4)), (270, (64, 48), (-4, 4))],
)
def test_films_of_phones_stand_upright(tmp_path: Path, clockwise: int, shape, corner: tuple[int, int]) -> None:
    path = write_film(tmp_path / "a.mp4", bright_corner=True)
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    matrix = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)

    picture = open_source(path).frame(0)

    assert picture.shape == (*shape, 3)
    assert picture[corner].min() > 200
    assert (picture > 200).all(axis=2).mean() == pytest.approx(16 * 16 / (48 * 64), rel=0.1)


def test_a_picture_stands_upright_and_still(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "a.png", exif=exif)

    source = open_source(tmp_path / "a.png")

    assert isinstance(source, StillImage)
    assert source.is_still
    assert source.frame(0) is source.frame(500)
    assert source.frame(0).shape == (30, 20, 3)
    assert source.frame(0)[0, -1].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    grey = np.full((8, 8), 40_000 if mode == "I;16" else 156, np.uint16 if mode == "I;16" else np.uint8)
    image = Image.fromarray(grey)
    (image if mode == "I;16" else image.convert("RGB").convert("L" if mode == "1" else mode)).convert(mode).save(path)

    picture = open_source(path).frame(0)

    assert (picture.shape, picture.dtype) == ((8, 8, 3), np.uint8)
    assert picture.mean() == pytest.approx(156, abs=20)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    film = bytearray(write_film(tmp_path / "a.mp4").read_bytes())
    start = film.index(b"mdat") + 1000
    film[start : start + 300] = b"\xff" * 300
    (tmp_path / "damaged.mp4").write_bytes(film)
    Image.effect_noise((99, 99), 60).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no picture at all")

    for name, code in [
        ("damaged.mp4", "video_invalid"),
        ("cut.png", "image_invalid"),
        ("missing.png", "image_invalid"),
        ("text.png", "video_invalid"),
    ]:
        with pytest.raises(InvalidInput) as caught:
            open_source(tmp_path / name).frame(29)
        assert caught.value.code == code, name


def test_it_holds_one_frame_only(tmp_path: Path) -> None:
    film = open_source(write_film(tmp_path / "a.mp4"))

    assert isinstance(film, SourceVideo)
    film.frame(20)
    assert not [value for value in vars(film).values() if isinstance(value, list | dict | np.ndarray)]


def test_of_a_source_a_part_can_be_shown(tmp_path: Path) -> None:
    Image.effect_noise((99, 60), 60).convert("RGB").save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", write_film(tmp_path / "a.mp4")):
        whole = open_source(path)
        part = open_source(path, (10, 4, 8, 12))

        assert part.is_still == whole.is_still
        for number in (0, 9):
            assert np.array_equal(part.frame(number), whole.frame(number)[10:18, 4:16])
    with pytest.raises(InvalidInput, match="outside"):
        open_source(tmp_path / "a.png", (10, 4, 80, 12)).frame(0)
