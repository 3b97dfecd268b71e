"""Films that were joined end to end, and those whose sound begins before the picture."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from accounts.errors import ServiceError
from render.media.reading.video_cost import VideoCost
from render.media.video.source_video import normalise_video
from tests.render.media.conftest import QUICKLY

GREEN, RED = (0, 200, 0), (200, 0, 0)
FORMATS = {".ts": "mpeg2video", ".mpg": "mpeg2video", ".mkv": "libx264", ".mp4": "libx264"}


def write(path: Path, colours: list[tuple[int, int, int]], *, late: int = 0, sound: str = "", offset: int = 0) -> Path:
    """A second of each colour. late: seconds of sound before the picture. offset: seconds, added to all time stamps."""
    options = {"output_ts_offset": str(offset)} if offset else {}
    with av.open(str(path), "w", options=options) as target:
        codec = FORMATS.get(path.suffix, "libvpx")
        video = target.add_stream(codec, rate=25, options=QUICKLY.get(codec, {}))
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        video.codec_context.thread_count = 1  # threads of libvpx spin while they wait
        audio = target.add_stream(sound, rate=48_000, layout="mono") if sound else None
        if audio is not None:
            samples = np.zeros((1, 48_000 * (late + len(colours))), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            resampler = av.AudioResampler(format=audio.format, layout="mono", rate=48_000, frame_size=960)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                target.mux(audio.encode(piece))
            target.mux(audio.encode(None))
        for number in range(25 * len(colours)):
            picture = np.full((96, 160, 3), colours[number // 25], np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number + 25 * late, Fraction(1, 25)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


def first_red(path: Path) -> int:
    """The number of the frame."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if frame.to_ndarray(format="rgb24")[48, 80, 0] > 120:
                return number
    raise AssertionError("no red")


@pytest.mark.parametrize(("suffix", "offset"), [(".ts", 0), (".ts", 3600), (".mpg", 0), (".mkv", 0), (".webm", 0)])
def test_all_parts_of_a_joined_film_are_shown_one_after_the_other(suffix: str, offset: int, tmp_path: Path) -> None:
    first = write(tmp_path / f"a{suffix}", [GREEN, GREEN])
    second = write(tmp_path / f"b{suffix}", [RED, RED], offset=offset)
    first.write_bytes(first.read_bytes() + second.read_bytes())

    video = normalise_video(first, tmp_path / "video.mp4", max_seconds=60, param="image_url")

    assert video.num_frames == pytest.approx(100, abs=3)
    assert first_red(video.path) == pytest.approx(50, abs=3)


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "aac"), (".mp4", "aac"), (".webm", "libopus"), (".ts", "mp2"), (".mpg", "mp2")]
)
def test_a_picture_that_begins_late_stays_with_its_sound(suffix: str, codec: str, tmp_path: Path) -> None:
    source = write(tmp_path / f"a{suffix}", [GREEN, RED], late=1, sound=codec)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert video.num_frames == pytest.approx(75, abs=2)
    assert first_red(video.path) == pytest.approx(50, abs=2)


@pytest.mark.parametrize("step", [-2, 11])
def test_jumps_of_the_time_give_no_room_for_more_frames(step: int) -> None:
    """One after the other, each frame would else be taken for the first of another film."""
    cost = VideoCost("image_url", "mpegts")
    packet = av.Packet(b"x")
    packet.time_base = Fraction(1, 1000)
    with pytest.raises(ServiceError, match="too fast"):
        for number in range(100):
            packet.pts = packet.dts = step * 1000 * number
            cost.add(packet, 3840, 2160)
