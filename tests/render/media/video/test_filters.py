"""Films look as in a player: upright, not combed, in their colours, on white."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.media.reading import decoding
from render.media.reading.damage import Damage
from render.media.reading.opening import audio_track, open_source, video_track
from render.media.video.filters import color_arguments
from render.media.video.source_video import normalise_video

Picture = NDArray[np.uint8]
SIZE = 160, 96


def normalised(source: Path) -> list[Picture]:
    video = normalise_video(source, source.with_name("video.mp4"), max_seconds=10, param="image_url")
    with av.open(str(video.path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write(
    path: Path,
    frames: list[av.VideoFrame],
    codec: str = "libx264",
    *,
    rate: int = 25,
    options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        first = frames[0]
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        context = stream.codec_context
        context.thread_count = 1  # threads of libvpx spin while they wait
        context.colorspace, context.color_range = first.colorspace, first.color_range
        context.color_trc, context.color_primaries = first.color_trc, first.color_primaries
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """In the track header (ISO/IEC 14496-12, 8.3.2): x is shown at ax + cy, y at bx + dy."""
    values = [value << 16 for value in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),  # the front camera of a phone
        ((1, 0, 0, -1), lambda picture: picture[::-1]),
        ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
        ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),  # a phone that was held upright
        ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
        ((0, -1, -1, 0), lambda picture: picture[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_each_of_the_eight_orientations(
    matrix: tuple[int, int, int, int],
    shown: Callable[[Picture], Picture],
    write_film: Callable[..., Path],
) -> None:
    source = write_film("a.mp4", num_frames=2)
    stored = normalised(source)[0]
    set_matrix(source, *matrix)

    frame = normalised(source)[0]

    assert frame.shape == shown(stored).shape
    assert np.abs(frame.astype(int) - shown(stored)).mean() < 2


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("combed.mp4", "libx264", "yuv420p", {"flags": "+ilme+ildct", "x264-params": "tff=1", "crf": "10"}),
        # Only the container says it.
        ("combed.mov", "mjpeg", "yuvj420p", {"field_order": "tt"}),
    ],
)
def test_the_fields_of_an_interlaced_film_are_not_left_as_a_comb(
    name: str, codec: str, pixels: str, options: dict[str, str], tmp_path: Path
) -> None:
    """A white picture with a black bar that moves by 8 pixels from one field to the next."""

    def field(number: int) -> Picture:
        picture = np.full((96, 160), 235, np.uint8)
        picture[:, 8 * number : 8 * number + 30] = 16
        return picture

    frames = []
    for number in range(8):
        both = field(2 * number)
        both[1::2] = field(2 * number + 1)[1::2]
        frame = av.VideoFrame.from_ndarray(both, format="gray").reformat(format=pixels)
        frames.append(frame)
    combed = write(tmp_path / name, frames, codec, options=options)
    frames = [av.VideoFrame.from_ndarray(field(2 * n), format="gray").reformat(format="yuv420p") for n in range(8)]
    smooth = write(tmp_path / "smooth.mp4", frames, options={"crf": "10"})

    def comb(pictures: list[Picture]) -> float:
        """How much lines differ from the mean of their neighbours."""
        rows = pictures[4][..., 1].astype(float)
        return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())

    assert comb(normalised(combed)) < comb(normalised(smooth)) + 1


def hlg(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100, table 5: of light on a screen of 1000 cd/m2 to the signal."""
    luminance = light @ [0.2627, 0.678, 0.0593]
    scene = (np.maximum(luminance, 1e-9)[..., None] / 1000) ** (1 / 1.2 - 1) * light / 1000
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100, table 4."""
    power = (light / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


BT2020_OF_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.088, 0.8956]])  # BT.2087
COLOURS = np.array([(0, 0, 0), (64, 64, 64), (128, 128, 128), (255, 255, 255), (200, 120, 90), (60, 120, 160)])


def patches(curve: Callable[[NDArray[np.float64]], NDArray[np.float64]], trc: ColorTrc) -> av.VideoFrame:
    """The colours side by side, as HDR has them: paper's white at 203 cd/m2 (ITU-R BT.2408)."""
    light = 203 * (COLOURS / 255) ** 2.4 @ BT2020_OF_BT709.T
    red, green, blue = curve(light).T
    y = 0.2627 * red + 0.678 * green + 0.0593 * blue
    planes = [64 + 876 * y, 512 + 896 * (blue - y) / 1.8814, 512 + 896 * (red - y) / 1.4746]
    rows = [np.repeat(plane.round().astype(np.uint16)[None], 96, 0).repeat(32, 1) for plane in planes]
    frame = av.VideoFrame(32 * len(COLOURS), 96, "yuv444p10le")
    for plane, pixels in zip(frame.planes, rows, strict=True):
        padded = np.zeros((96, plane.line_size // 2), np.uint16)
        padded[:, : pixels.shape[1]] = pixels
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = Colorspace.BT2020, ColorRange.MPEG
    frame.color_trc, frame.color_primaries = trc, ColorPrimaries.BT2020
    return frame


# FFmpeg computes a table for each kind of wide colours, in three seconds.
@pytest.mark.parametrize(
    ("curve", "trc"),
    [(hlg, ColorTrc.ARIB_STD_B67), pytest.param(pq, ColorTrc.SMPTE2084, marks=pytest.mark.slow)],
)
def test_hdr_becomes_the_colours_that_it_stands_for(curve, trc: ColorTrc, tmp_path: Path) -> None:
    source = write(tmp_path / "hdr.mp4", [patches(curve, trc)] * 2, options={"qp": "0"})

    frame = normalised(source)[0]

    seen = frame[48, 16::32].astype(int)
    assert np.abs(seen - COLOURS).max() <= 14, seen.tolist()


@pytest.mark.parametrize(
    ("trc", "is_kept"),
    [(ColorTrc.SMPTE2084, True), (ColorTrc.ARIB_STD_B67, True), (ColorTrc.BT709, False), (ColorTrc.LINEAR, False)],
)
def test_the_curves_of_hdr_alone_are_converted(trc: ColorTrc, is_kept: bool) -> None:
    """An HDR film of another curve takes the same way through FFmpeg."""
    arguments = color_arguments(patches(hlg, trc))

    assert ("in_transfer=" not in arguments) == is_kept
    assert arguments.endswith("out_transfer=bt709" + (":in_transfer=bt709" if not is_kept else ""))


def red_of(primaries: ColorPrimaries, trc: ColorTrc, folder: Path) -> NDArray[np.int64]:
    red = np.full((96, 160, 3), (200, 40, 40), np.uint8)
    frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
    frame.color_primaries, frame.color_trc = primaries, trc
    return normalised(write(folder / "a.mp4", [frame] * 2))[0][48, 80].astype(int)


def test_a_curve_of_sdr_is_left(tmp_path: Path) -> None:
    plain = red_of(ColorPrimaries.BT709, ColorTrc.BT709, tmp_path)

    assert plain == pytest.approx((200, 40, 40), abs=4)
    assert red_of(ColorPrimaries.BT709, ColorTrc.IEC61966_2_1, tmp_path) == pytest.approx(plain, abs=2)


@pytest.mark.slow
def test_wide_primaries_are_converted(tmp_path: Path) -> None:
    """Display P3's red is redder than that of BT.709."""
    plain = red_of(ColorPrimaries.BT709, ColorTrc.BT709, tmp_path)
    wide = red_of(ColorPrimaries.SMPTE432, ColorTrc.BT709, tmp_path)

    assert wide[0] > plain[0] + 8 and wide[1] < plain[1] - 8


@pytest.mark.parametrize(
    ("codec", "name", "pixels", "options"),
    [
        ("libvpx-vp9", "a.webm", "yuva420p", {}),
        ("libvpx", "a.webm", "yuva420p", {"auto-alt-ref": "0"}),
        ("prores_ks", "a.mov", "yuva444p10le", {"profile": "4444"}),
    ],
)
def test_a_transparent_film_stands_on_white(codec: str, name: str, pixels: str, options, tmp_path: Path) -> None:
    drawn = np.zeros((96, 160, 4), np.uint8)
    drawn[...] = (200, 20, 20, 255)
    drawn[:, 64:112, 3] = 128
    drawn[:, 112:, 3] = 0
    frame = av.VideoFrame.from_ndarray(drawn, format="rgba").reformat(format=pixels)

    picture = normalised(write(tmp_path / name, [frame] * 3, codec, options=options))[0]

    assert picture[48, 32] == pytest.approx((200, 20, 20), abs=8)
    assert picture[48, 88] == pytest.approx((227, 137, 137), abs=8)
    assert picture[48, 144] == pytest.approx((255, 255, 255), abs=4)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuva420p"])
def test_a_decoder_of_transparency_has_the_limit_of_every_other(pixels: str, tmp_path: Path, monkeypatch) -> None:
    frame = av.VideoFrame.from_ndarray(np.zeros((96, 160, 4), np.uint8), format="rgba").reformat(format=pixels)
    path = write(tmp_path / "a.webm", [frame] * 3, "libvpx-vp9")
    monkeypatch.setattr(decoding, "MAX_VIDEO_PIXELS", 100 * 100)

    with open_source(path) as container, pytest.raises(ServiceError, match="too large"):
        stream = container.streams.video[0]
        damage = Damage(ServiceError("video_invalid", "too large"))
        assert not list(decoding.video_frames(container, stream, source=path, damage=damage, param="image_url"))
        damage.settle()


def test_a_film_too_narrow_to_be_deinterlaced_is_a_bad_film_and_no_bug(write_film: Callable[..., Path]) -> None:
    source = write_film("narrow.mkv", "mpeg4", size=(2, 128), aspect=Fraction(64))

    with pytest.raises(ServiceError) as caught:
        normalised(source)

    assert caught.value.code == "video_invalid"


@pytest.mark.parametrize("name", ["two.mkv", "two.mp4", "two.mov"])
def test_of_several_tracks_the_default_is_taken(name: str, write_film, write_sound, remux) -> None:
    films = [write_film("small.mp4", size=(96, 96)), write_film("large.mp4", size=(160, 96))]
    sounds = [write_sound("low.m4a", "aac", 16_000), write_sound("high.m4a", "aac", 48_000)]
    defaults = [False, True, False, True]

    both = remux(name, *films, *sounds, defaults=defaults)

    with open_source(both) as container:
        assert [bool(stream.disposition & Disposition.default) for stream in container.streams] == defaults
        film, sound = video_track(container), audio_track(container)
        assert film is not None and film.width == 160
        assert sound is not None and sound.rate == 48_000
