from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from accounts.errors import ServiceError
from render.media.audio.mix import open_mix
from render.media.audio.segment_audio import open_segment_audio
from render.media.video.output_video import assemble_video
from render.media.video.segment_file import encode_segment

EDGES = [0, 20, 45, 70]  # frames: edges of segments, at which no AAC packet starts
NUM_FRAMES = EDGES[-1]
CODEC_DELAY_SECONDS = 1024 / 44_100  # how far a packet may reach over an edge


@pytest.fixture
def voice(write_wav: Callable[..., Path]) -> Path:
    """A sweep, so that each moment sounds unlike every other."""
    times = np.arange(48_000 * 3) / 48_000
    sweep = 12_000 * np.sin(2 * np.pi * (200 + 300 * times) * times)
    return write_wav("voice.wav", sweep.astype(np.int16), 48_000)


def write_pieces(folder: Path, voice: Path, *, first: int = 0) -> list[Path]:
    """The pieces from segment `first` on, as an attempt writes that begins there."""
    pieces = []
    with open_segment_audio([(voice, 0.0)], NUM_FRAMES) as sound:
        for start, stop in list(pairwise(EDGES))[first:]:
            frames = np.full((stop - start, 64, 96, 3), start, np.uint8)
            pieces.append(folder / f"{first}-{start}.ts")
            encode_segment(frames, pieces[-1], start_frame=start, audio=sound)
    return pieces


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.audio[0]) if packet.size]


def joined(pieces: list[Path], tmp_path: Path) -> Path:
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return path


def sound_of(path: Path) -> NDArray[np.float32]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]


def mix_of(voice: Path) -> NDArray[np.float32]:
    with ExitStack() as files:
        return np.concatenate(list(islice(open_mix([(voice, 0.0)], files).blocks, NUM_FRAMES)), axis=1)[0]


def test_a_piece_has_the_packets_that_start_while_it_is_shown(voice: Path, tmp_path: Path) -> None:
    for piece, (start, stop) in zip(write_pieces(tmp_path, voice), pairwise(EDGES), strict=True):
        times = [float(packet.pts * packet.time_base) for packet in packets_of(piece)]
        assert start / 25 <= times[0] < start / 25 + CODEC_DELAY_SECONDS
        assert stop / 25 - CODEC_DELAY_SECONDS <= times[-1] < stop / 25


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_the_pieces_join_without_gap_or_overlap(rate: int, write_sound: Callable[..., Path], tmp_path: Path) -> None:
    pieces = write_pieces(tmp_path, write_sound("voice.wav", "pcm_s16le", rate, seconds=3.0))

    packets = packets_of(joined(pieces, tmp_path))
    assert packets[0].pts == 0
    steps = {later.pts - earlier.pts for earlier, later in pairwise(packets)}
    assert all(abs(step - 90_000 * 1024 / rate) < 1 for step in steps)  # MPEG-TS counts 90,000 a second
    assert len(packets) == -(-NUM_FRAMES * rate // 25 // 1024)
    assert sum(len(packets_of(piece)) for piece in pieces) == len(packets)


def test_nothing_is_lost_where_pieces_are_joined(voice: Path, tmp_path: Path) -> None:
    times: dict[str, list[int]] = {"video": [], "audio": []}
    with av.open(str(joined(write_pieces(tmp_path, voice), tmp_path))) as container:
        for packet in container.demux():
            assert not packet.is_corrupt
            if packet.size:
                times[packet.stream.type].append(packet.dts)

    assert times["video"] == [3600 * number for number in range(NUM_FRAMES)]
    assert times["audio"] == sorted(set(times["audio"]))


def test_the_pieces_together_sound_like_the_mix(voice: Path, tmp_path: Path) -> None:
    expected = mix_of(voice)

    heard = sound_of(joined(write_pieces(tmp_path, voice), tmp_path))

    assert len(expected) <= len(heard) < len(expected) + 1024
    faded_in = 1024  # what the priming packet would have prepared
    for edge in [0, *EDGES]:  # around each edge and as a whole
        window = slice(max(faded_in, edge * 1920 - 4800), edge * 1920 + 4800 if edge else len(expected))
        assert np.corrcoef(expected[window], heard[: len(expected)][window])[0, 1] > 0.99


def test_the_film_has_the_same_sound_and_does_not_see_that_of_its_pieces(voice: Path, tmp_path: Path) -> None:
    pieces = write_pieces(tmp_path, voice)
    silent = [tmp_path / f"silent-{start}.ts" for start in EDGES[:-1]]
    for path, (start, stop) in zip(silent, pairwise(EDGES), strict=True):
        encode_segment(np.full((stop - start, 64, 96, 3), start, np.uint8), path, start_frame=start)

    assemble_video(pieces, [(voice, 0.0)], NUM_FRAMES, tmp_path / "film.mp4")
    assemble_video(silent, [(voice, 0.0)], NUM_FRAMES, tmp_path / "other.mp4")

    assert (tmp_path / "film.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
    of_film, of_pieces = sound_of(tmp_path / "film.mp4"), sound_of(joined(pieces, tmp_path))
    np.testing.assert_allclose(of_pieces[2048:130_000], of_film[2048:130_000], atol=1e-4)


@pytest.mark.parametrize("first", [1, 2])
def test_an_attempt_that_begins_in_the_middle_writes_the_same_bytes(first: int, voice: Path, tmp_path: Path) -> None:
    unbroken = write_pieces(tmp_path, voice)

    resumed = write_pieces(tmp_path, voice, first=first)

    assert [piece.read_bytes() for piece in resumed] == [piece.read_bytes() for piece in unbroken[first:]]


def test_it_refuses_a_sound_that_cannot_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "voice").write_bytes(b"<html>")

    with pytest.raises(ServiceError) as caught, open_segment_audio([(tmp_path / "voice", 0.0)], NUM_FRAMES):
        pass

    assert caught.value.code == "audio_invalid"


def test_an_attempt_that_goes_on_tells_that_it_encodes_what_lies_before(voice) -> None:
    dropped: list[int] = []
    with open_segment_audio([(voice, 0.0)], NUM_FRAMES, on_dropped=lambda: dropped.append(1)) as sound:
        list(sound.packets(EDGES[2]))

    assert len(dropped) > EDGES[2] / 25 * 44
