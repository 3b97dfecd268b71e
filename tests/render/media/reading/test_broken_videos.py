"""Holes in streams of packets whose demuxers go on without a word."""

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from accounts.errors import ServiceError
from render.media.video.source_video import check_video, normalise_video

FILMS = {"a.ts": "mpeg2video", "a.mpg": "mpeg2video", "a.wmv": "wmv2"}
SECONDS = 5


@pytest.fixture(scope="module", params=FILMS)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("film") / request.param, pause=0).read_bytes()


def write(path: Path, *, pause: int) -> Path:
    """pause: seconds without frames in the middle."""
    noise = np.random.default_rng(1).integers(0, 255, (96, 160, 3), np.uint8)
    with av.open(str(path), "w") as target:
        video = target.add_stream(FILMS[path.name], rate=25, options={"b": "400000"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for number in range(25 * SECONDS):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in video.encode(frame):
                delay(packet, pause)
                target.mux(packet)
        for packet in video.encode(None):
            delay(packet, pause)
            target.mux(packet)
    return path


def delay(packet: av.Packet, seconds: int) -> None:
    if packet.pts is not None and packet.time_base and packet.pts * packet.time_base >= SECONDS / 2:
        packet.pts += round(seconds / packet.time_base)
        packet.dts = packet.pts


def zeros(content: bytes, start: int, stop: int) -> bytes:
    return content[:start] + bytes(stop - start) + content[stop:]


def noise(content: bytes, start: int, stop: int) -> bytes:
    return content[:start] + random.Random(3).randbytes(stop - start) + content[stop:]


def taken_out(content: bytes, start: int, stop: int) -> bytes:
    return content[:start] + content[stop:]


@pytest.mark.parametrize("damage", [zeros, noise, taken_out])
@pytest.mark.parametrize("check", [check_video, None])
def test_a_hole_in_a_film_is_an_error(
    damage: Callable[[bytes, int, int], bytes], check: Callable[..., None] | None, film: bytes, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(damage(film, int(0.41 * len(film)), int(0.56 * len(film))))

    with pytest.raises(ServiceError, match="damaged or was cut off") as refused:
        if check:
            check(source, param="image_url")
        else:
            normalise_video(source, tmp_path / "video.mp4", max_seconds=20, param="image_url")

    assert refused.value.code == "video_invalid"


@pytest.mark.parametrize("name", FILMS)
def test_a_pause_in_a_whole_film_is_no_hole(name: str, tmp_path: Path) -> None:
    video = normalise_video(write(tmp_path / name, pause=2), tmp_path / "video.mp4", max_seconds=20, param="image_url")

    assert video.num_frames == pytest.approx(25 * (SECONDS + 2), abs=2)
    assert video.lost_seconds == 0


@pytest.mark.parametrize("start", [100, 188 * 7])
def test_a_stream_that_was_cut_at_its_start_is_whole(start: int, tmp_path: Path) -> None:
    source = write(tmp_path / "a.ts", pause=2)
    content = source.read_bytes()
    source.write_bytes(content[: 2 * 188] + content[2 * 188 + start :] if start % 188 == 0 else content[start:])

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=20, param="image_url")

    assert video.lost_seconds < 0.1
