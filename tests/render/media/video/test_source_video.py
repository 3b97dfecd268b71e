from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.media.video.source_video import normalise_video


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return list(container.decode(container.streams.video[0]))


def rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return frame.to_ndarray(format="rgb24")


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.mp4", "libx264", 25), ("a.mkv", "libx264", 50), ("a.webm", "libvpx", 10), ("a.avi", "mpeg4", 30)],
)
def test_it_gives_25_frames_per_second(
    name: str, codec: str, rate: int, write_film: Callable[..., Path], tmp_path: Path
) -> None:
    source = write_film(name, codec, rate=rate, num_frames=2 * rate)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    frames = frames_of(video.path)
    assert (video.width, video.height, video.num_frames) == (160, 96, 50)
    assert [frame.time for frame in frames] == [pytest.approx(number / 25) for number in range(50)]
    assert {frame.format.name for frame in frames} == {"yuv420p"}


@pytest.mark.parametrize("pixel", [(200, 20, 20), (20, 20, 200)])
def test_it_keeps_the_colours_and_says_which_they_are(
    pixel: tuple[int, int, int], write_film: Callable[..., Path], tmp_path: Path
) -> None:
    video = normalise_video(write_film("a.mp4"), tmp_path / "video.mp4", max_seconds=10, param="image_url")

    frame = frames_of(video.path)[0]
    place = (20, 20) if pixel[0] == 200 else (80, 140)
    assert rgb(frame)[place] == pytest.approx(pixel, abs=6)
    assert (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("rotation", "size", "corner"),
    [(0, (160, 96), (20, 20)), (90, (96, 160), (20, 76)), (180, (160, 96), (76, 140)), (270, (96, 160), (140, 20))],
)
def test_it_turns_the_film_upright(
    rotation: int, size: tuple[int, int], corner: tuple[int, int], write_film: Callable[..., Path], tmp_path: Path
) -> None:
    source = write_film("a.mp4")
    rotate_in_place(source, rotation)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert (video.width, video.height) == size
    assert rgb(frames_of(video.path)[0])[corner][0] > 150


def rotate_in_place(path: Path, clockwise: int) -> None:
    """Write the display matrix of the track header (ISO/IEC 14496-12, 8.3.2) as phones do."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    values = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    matrix = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = matrix
    path.write_bytes(content)


def test_it_shows_only_what_a_trimmed_film_shows(write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = write_film("a.mp4", num_frames=75, codec_options={"g": "10", "bf": "0"})
    content = bytearray(source.read_bytes())
    entry = content.index(b"elst") + 12  # its length in ms and its start in ticks of 1 / 12,800 s
    content[entry : entry + 8] = (1000).to_bytes(4, "big") + (12_800).to_bytes(4, "big")
    source.write_bytes(content)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert video.num_frames == 25


def test_it_reads_a_film_in_fragments(write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = write_film("a.mp4", num_frames=75, options={"movflags": "frag_keyframe+empty_moov"})

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert video.num_frames == 75


def test_it_makes_pixels_square(write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = write_film("a.mp4", aspect=Fraction(4, 3))

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert (video.width, video.height) == (214, 96)


def test_it_limits_the_longer_side(write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = write_film("a.mp4", size=(2400, 200), num_frames=2)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert (video.width, video.height) == (1920, 160)


def test_it_stops_after_the_longest_time(write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = write_film("a.mp4", num_frames=100)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=1.2, param="image_url")

    assert video.num_frames == len(frames_of(video.path)) == 30


@pytest.mark.parametrize("options", [{}, {"movflags": "+faststart"}], ids=["index last", "index first"])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_it_refuses_a_part_of_a_film(
    part: float, options: dict[str, str], write_film: Callable[..., Path], tmp_path: Path
) -> None:
    source = write_film("a.mp4", options=options)
    content = source.read_bytes()
    source.write_bytes(content[: int(len(content) * part)])

    with pytest.raises(ServiceError) as caught:
        normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert (caught.value.code, caught.value.param) == ("video_invalid", "image_url")
    assert not (tmp_path / "video.mp4").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(range(256)) * 100], ids=["empty", "html", "noise"])
def test_it_refuses_what_is_no_film(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)

    with pytest.raises(ServiceError) as caught:
        normalise_video(tmp_path / "source", tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert caught.value.code == "video_invalid"


def test_it_refuses_a_sound(write_sound: Callable[..., Path], tmp_path: Path) -> None:
    source = write_sound("a.m4a", "aac", 48_000)

    with pytest.raises(ServiceError) as caught:
        normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert caught.value.code == "video_invalid"


def test_it_refuses_a_film_without_room_for_a_face(write_film: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        source = write_film("a.mp4", size=(160, 48))
        normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert caught.value.code == "image_too_small"


@pytest.mark.parametrize("sizes", [((160, 96), (320, 192)), ((320, 192), (160, 96)), ((160, 96), (96, 160))])
def test_a_film_whose_pictures_change_their_size_is_shown_in_that_of_the_first(
    sizes: tuple[tuple[int, int], tuple[int, int]], write_film: Callable[..., Path], tmp_path: Path
) -> None:
    parts = [write_film(f"{size[0]}.webm", "libvpx", size=size, num_frames=10) for size in sizes]
    source = join(parts, tmp_path / "call.webm")

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    frames = frames_of(video.path)
    assert (video.width, video.height, len(frames)) == (*sizes[0], 20)
    before, after = rgb(frames[9]).astype(int), rgb(frames[10]).astype(int)
    is_turned = sizes[1] == (96, 160)
    assert (after[:, 0].max() < 40) == is_turned  # Black beside a picture of another shape, which is shown whole.
    if not is_turned:
        assert np.abs(before - after).mean() < 12


def join(parts: list[Path], path: Path) -> Path:
    """The packets of several films one after the other, as a call does that changes the size of its picture."""
    with av.open(str(path), "w") as target:
        stream, start = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(source.streams.video[0]):
                    if packet.pts is not None and packet.size:
                        packet.pts, packet.dts = packet.pts + start, packet.dts + start
                        packet.stream = stream
                        target.mux(packet)
            start += 400  # milliseconds
    return path


def test_a_film_whose_picture_is_the_second_track_keeps_its_last_frames(
    write_film: Callable[..., Path], write_sound: Callable[..., Path], remux: Callable[..., Path], tmp_path: Path
) -> None:
    """Frames that are shown in another order than they are stored leave the decoder after the last packet."""
    film = write_film("a.mp4", num_frames=50, codec_options={"bf": "3"})
    source = remux("film.mkv", write_sound("a.m4a", "aac", 48_000), film)

    video = normalise_video(source, tmp_path / "video.mp4", max_seconds=10, param="image_url")

    assert video.num_frames == 51  # the sound begins 21 ms before the picture, whose first frame stands for so long
