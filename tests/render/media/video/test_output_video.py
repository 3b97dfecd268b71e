import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from accounts.errors import ServiceError
from render.media.video.output_video import assemble_video, save_poster
from render.media.video.segment_file import encode_segment

NUM_FRAMES = 70


def level(number: int) -> int:
    return 20 + 3 * number


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pieces of a film whose frame `number` is a grey of `level(number)`."""
    folder, paths = tmp_path_factory.mktemp("segments"), []
    for start, stop in ((0, 30), (30, 60), (60, NUM_FRAMES)):
        frames = np.stack([np.full((64, 96, 3), level(number), np.uint8) for number in range(start, stop)])
        paths.append(folder / f"{start}.ts")
        encode_segment(frames, paths[-1], start_frame=start)
    return paths


def video_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def sound_of(path: Path) -> tuple[float, NDArray[np.float32]]:
    """When the first sample is heard, and all samples (channels x samples)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return frames[0].time, np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def clicks(*seconds: float, rate: int, length: float, height: int = 20_000) -> NDArray[np.int16]:
    samples = np.zeros(round(length * rate), np.int16)
    for second in seconds:
        start = round(second * rate)
        samples[start : start + 40] = height
    return samples


def test_every_frame_is_in_its_place(segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path) -> None:
    assemble_video(segments, [(write_sound("a.mp3", "libmp3lame", 44_100), 0.0)], NUM_FRAMES, tmp_path / "film.mp4")

    frames = video_of(tmp_path / "film.mp4")
    assert [frame.time for frame in frames] == [pytest.approx(number / 25) for number in range(NUM_FRAMES)]
    assert [int(frame.to_ndarray(format="gray")[30, 40]) for frame in frames] == [
        pytest.approx(level(number), abs=3) for number in range(NUM_FRAMES)
    ]


def test_the_packets_are_copied(segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path) -> None:
    joined: list[int] = []
    sound = [(write_sound("a.wav", "pcm_s16le", 16_000), 0.0)]
    assemble_video(segments, sound, NUM_FRAMES, tmp_path / "film.mp4", on_joined=lambda: joined.append(1))
    assert len(joined) == len(segments)

    originals = [frame.to_ndarray() for segment in segments for frame in video_of(segment)]
    copies = [frame.to_ndarray() for frame in video_of(tmp_path / "film.mp4")]
    np.testing.assert_array_equal(np.stack(copies), np.stack(originals))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_sound_and_picture_start_together(
    rate: int, segments: list[Path], write_wav: Callable[..., Path], tmp_path: Path
) -> None:
    voice = write_wav("voice.wav", clicks(0.5, 2.0, rate=rate, length=2.8), rate)

    assemble_video(segments, [(voice, 0.0)], NUM_FRAMES, tmp_path / "film.mp4")

    first, samples = sound_of(tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        film_rate = container.streams.audio[0].rate
        starts = [stream.start_time for stream in container.streams]
    half = round(1.2 * film_rate)
    assert (first, starts) == (0.0, [0, 0])
    assert np.abs(samples[0, :half]).argmax() / film_rate == pytest.approx(0.5, abs=0.006)
    assert (half + np.abs(samples[0, half:]).argmax()) / film_rate == pytest.approx(2.0, abs=0.006)


@pytest.mark.parametrize("seconds", [1.0, 2.8, 5.0], ids=["padded", "fitting", "cut"])
def test_the_film_is_as_long_as_its_pictures(
    seconds: float, segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path
) -> None:
    voice = write_sound("a.wav", "pcm_s16le", 48_000, seconds=seconds)

    assemble_video(segments, [(voice, 0.0)], NUM_FRAMES, tmp_path / "film.mp4")

    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.duration == 2_800_000
        assert [float(stream.duration * stream.time_base) for stream in container.streams] == [2.8, 2.8]
    _, samples = sound_of(tmp_path / "film.mp4")
    assert (np.abs(samples[0, -9600:-4800]).max() > 0.1) == (seconds > 2.7)


def test_the_second_voice_waits_for_its_turn(
    segments: list[Path], write_wav: Callable[..., Path], tmp_path: Path
) -> None:
    left = write_wav("left.wav", clicks(0.25, rate=44_100, length=1.5), 44_100)
    right = write_wav("right.wav", clicks(0.25, rate=16_000, length=1.0), 16_000)

    assemble_video(segments, [(left, 0.0), (right, 1.5)], NUM_FRAMES, tmp_path / "film.mp4")

    _, samples = sound_of(tmp_path / "film.mp4")
    assert np.abs(samples[0, :60_000]).argmax() / 48_000 == pytest.approx(0.25, abs=0.006)
    assert (60_000 + np.abs(samples[0, 60_000:]).argmax()) / 48_000 == pytest.approx(1.75, abs=0.006)


def test_two_loud_voices_do_not_clip(segments: list[Path], write_wav: Callable[..., Path], tmp_path: Path) -> None:
    tone = (32_000 * np.sin(np.arange(134_400) * 2 * np.pi * 200 / 48_000)).astype(np.int16)
    sound = [(write_wav(name, tone, 48_000), 0.0) for name in ("left.wav", "right.wav")]

    assemble_video(segments, sound, NUM_FRAMES, tmp_path / "film.mp4")

    _, samples = sound_of(tmp_path / "film.mp4")
    assert 0.9 < np.abs(samples[0, 24_000:96_000]).max() < 1.05  # AAC itself may overshoot a little


@pytest.mark.parametrize(
    ("layout", "channels", "rate", "film_rate"),
    [
        ("mono", 1, 44_100, 44_100),
        ("stereo", 2, 48_000, 48_000),
        ("mono", 1, 22_050, 44_100),
        ("mono", 1, 8000, 48_000),
    ],
)
def test_the_sound_keeps_the_quality_of_the_voice(
    layout: str,
    channels: int,
    rate: int,
    film_rate: int,
    segments: list[Path],
    write_sound: Callable[..., Path],
    tmp_path: Path,
) -> None:
    voice = write_sound("a.wav", "pcm_s16le", rate, layout=layout)

    assemble_video(segments, [(voice, 0.0)], NUM_FRAMES, tmp_path / "film.mp4")

    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", film_rate, channels)


def test_it_says_that_it_is_generated(segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path) -> None:
    sound = [(write_sound("a.wav", "pcm_s16le", 16_000), 0.0)]

    assemble_video(segments, sound, NUM_FRAMES, tmp_path / "film.mp4", title="Selamat pagi")

    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.metadata["title"] == "Selamat pagi"
        assert "AI-generated" in container.metadata["comment"]
        assert "AI-generated" in container.metadata["description"]
        assert not {"creation_time", "encoder"} & set(container.metadata)


def test_a_player_can_start_before_the_end_is_loaded(
    segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path
) -> None:
    assemble_video(segments, [(write_sound("a.wav", "pcm_s16le", 16_000), 0.0)], NUM_FRAMES, tmp_path / "film.mp4")

    boxes = re.findall(rb"moov|mdat", (tmp_path / "film.mp4").read_bytes())
    assert boxes[:2] == [b"moov", b"mdat"]
    with av.open(str(tmp_path / "film.mp4")) as container:
        positions = [float(packet.pts * packet.time_base) for packet in container.demux() if packet.size]
    assert max(np.maximum.accumulate(positions) - positions) < 0.2


def test_equal_inputs_give_equal_bytes(segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path) -> None:
    sound = [(write_sound("a.mp3", "libmp3lame", 44_100), 0.0), (write_sound("b.m4a", "aac", 48_000), 0.7)]

    for name in ("one.mp4", "two.mp4"):
        assemble_video(segments, sound, NUM_FRAMES, tmp_path / name, title="Film")

    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_it_makes_no_film_when_frames_are_missing(
    segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path
) -> None:
    sound = [(write_sound("a.wav", "pcm_s16le", 16_000), 0.0)]

    with pytest.raises(ValueError, match="60 frames in the segments instead of 70"):
        assemble_video(segments[:2], sound, NUM_FRAMES, tmp_path / "film.mp4")

    assert not (tmp_path / "film.mp4").exists()


def test_it_makes_no_film_of_pieces_of_two_sizes(
    segments: list[Path], write_sound: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.ts"
    encode_segment(np.zeros((10, 96, 64, 3), np.uint8), other, start_frame=60)

    with pytest.raises(ValueError, match="encoded differently"):
        sound = [(write_sound("a.wav", "pcm_s16le", 16_000), 0.0)]
        assemble_video([*segments[:2], other], sound, NUM_FRAMES, tmp_path / "film.mp4")


def test_it_makes_no_film_with_a_sound_that_cannot_be_read(segments: list[Path], tmp_path: Path) -> None:
    (tmp_path / "voice").write_bytes(b"<html>")

    with pytest.raises(ServiceError) as caught:
        assemble_video(segments, [(tmp_path / "voice", 0.0)], NUM_FRAMES, tmp_path / "film.mp4")

    assert caught.value.code == "audio_invalid"


@pytest.mark.parametrize("number", [0, 12])
def test_the_poster_shows_the_frame(number: int, segments: list[Path], tmp_path: Path) -> None:
    save_poster(segments[0], tmp_path / "poster.jpg", frame=number)

    with Image.open(tmp_path / "poster.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (96, 64))
        assert image.getpixel((40, 30)) == pytest.approx((level(number),) * 3, abs=4)


def test_the_poster_keeps_the_colours(tmp_path: Path) -> None:
    encode_segment(np.full((1, 64, 64, 3), (200, 30, 60), np.uint8), tmp_path / "segment.ts", start_frame=0)

    save_poster(tmp_path / "segment.ts", tmp_path / "poster.jpg")

    with Image.open(tmp_path / "poster.jpg") as image:
        assert image.getpixel((32, 32)) == pytest.approx((200, 30, 60), abs=5)


def test_there_is_no_poster_of_a_frame_that_is_not_there(segments: list[Path], tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        save_poster(segments[2], tmp_path / "poster.jpg", frame=10)
