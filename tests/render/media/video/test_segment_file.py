import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from render.media.video.segment_file import encode_segment

COLOURS = [(255, 255, 255), (0, 0, 0), (200, 30, 60), (20, 180, 40), (10, 20, 220), (128, 128, 128)]


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """A face-like soft picture that moves: 60 x 64 x 96 x 3."""
    rows, columns = np.mgrid[0:64, 0:96]
    waves = [128 + 90 * np.sin((rows + 2 * columns) / 17 + number / 9) for number in range(60)]
    return np.repeat(np.stack(waves).astype(np.uint8)[..., None], 3, axis=3)


def test_a_segment_starts_at_its_frame(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    encode_segment(frames, tmp_path / "segment.ts", start_frame=81)

    with av.open(str(tmp_path / "segment.ts")) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert stream.time_base.denominator == 90_000
    assert [packet.pts for packet in packets] == [3600 * number for number in range(81, 141)]
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]


def test_a_segment_stands_alone(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    encode_segment(frames, tmp_path / "segment.ts", start_frame=0)

    with av.open(str(tmp_path / "segment.ts")) as container:
        packet = next(container.demux(container.streams.video[0]))
    units = [unit[0] & 0x1F for unit in bytes(packet).split(b"\0\0\1")[1:]]
    assert packet.is_keyframe
    assert {7, 8, 5} <= set(units)  # SPS, PPS and IDR (ITU-T H.264, table 7-1)
    assert 1 not in units


def test_the_pictures_come_back(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    encode_segment(frames, tmp_path / "segment.ts", start_frame=0)

    with av.open(str(tmp_path / "segment.ts")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 2


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_bt709_in_limited_range(colour: tuple[int, int, int], tmp_path: Path) -> None:
    encode_segment(np.full((1, 64, 64, 3), colour, np.uint8), tmp_path / "segment.ts", start_frame=0)

    with av.open(str(tmp_path / "segment.ts")) as container:
        frame = next(container.decode(video=0))
    luma, blue_difference, red_difference = (np.frombuffer(plane, np.uint8)[0] for plane in frame.planes)
    red, green, blue = (channel / 255 for channel in colour)
    expected = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # ITU-R BT.709-6, items 3.2 to 3.4
    assert luma == pytest.approx(16 + 219 * expected, abs=2)
    assert blue_difference == pytest.approx(128 + 224 * (blue - expected) / 1.8556, abs=2)
    assert red_difference == pytest.approx(128 + 224 * (red - expected) / 1.5748, abs=2)
    assert (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries) == (1, 1, 1, 1)


def test_equal_frames_give_equal_bytes(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    encode_segment(frames, tmp_path / "one.ts", start_frame=7)
    encode_segment(frames.copy(), tmp_path / "two.ts", start_frame=7)

    assert (tmp_path / "one.ts").read_bytes() == (tmp_path / "two.ts").read_bytes()


def test_frames_are_made_one_by_one_while_they_are_encoded(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    encode_segment(frames, tmp_path / "array.ts", start_frame=7)
    alive, most = weakref.WeakValueDictionary(), 0

    def made_late():
        nonlocal most
        for number in range(len(frames)):
            alive[number] = frame = frames[number].copy()
            most = max(most, len(alive))
            yield frame

    encode_segment(made_late(), tmp_path / "iterable.ts", start_frame=7)

    assert (tmp_path / "iterable.ts").read_bytes() == (tmp_path / "array.ts").read_bytes()
    assert most <= 3  # With the first one, which gave the size.


def test_it_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises((av.error.FFmpegError, ValueError)):
        encode_segment(np.zeros((1, 63, 63, 3), np.uint8), tmp_path / "segment.ts", start_frame=0)  # odd sides

    assert list(tmp_path.iterdir()) == []
