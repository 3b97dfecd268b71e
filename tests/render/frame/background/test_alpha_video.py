"""The transparent film: the person and the mark of a draft are seen, the background is not."""

from pathlib import Path

import av
import numpy as np
import pytest

from render.engines.draft.draft_mark import DraftMark
from render.frame.background.alpha_video import PLATE, write_alpha_video
from render.media.video.segment_file import encode_segment
from tests.render.conftest import write_voice
from tests.render.frame.conftest import FACE, SIDE, WALL, Picture

MARK = (10, SIDE - 60, 40, SIDE - 8)  # top, left, bottom, right


@pytest.fixture(scope="module")
def voice(folder: Path) -> Path:
    return write_voice(folder / "voice.wav", 1)


@pytest.fixture(scope="module")
def film(segments: list[Path], voice: Path, folder: Path) -> Path:
    path = folder / "film.webm"
    assert write_alpha_video(segments, [(voice, 0.04)], 5, path, opaque=MARK)
    return path


def decoded(film: Path) -> list[Picture]:
    """H x W x 4, by libvpx: FFmpeg's own decoder of VP9 leaves the alpha out."""
    with av.open(str(film)) as container:
        context = av.CodecContext.create("libvpx-vp9", "r")
        frames = [frame for packet in container.demux(video=0) if packet.size for frame in context.decode(packet)]
        return [frame.to_ndarray(format="rgba") for frame in frames]


def test_the_background_is_transparent_and_the_person_is_not(film: Path, moved) -> None:
    frames = decoded(film)

    assert len(frames) == 5
    for frame, source in zip(frames, moved(5), strict=True):
        assert frame.shape == (SIDE, SIDE, 4)
        assert frame[WALL][..., 3].max() <= 4
        assert frame[FACE][..., 3].min() >= 251
        assert np.abs(frame[FACE][..., :3].astype(int) - source[FACE]).mean() < 6


def test_the_mark_of_a_draft_stays_and_the_room_behind_it_does_not(moved, voice: Path, tmp_path: Path) -> None:
    mark = DraftMark(SIDE, SIDE)
    frames = moved(3)
    for frame in frames:
        frame[mark.box] = np.random.default_rng(0).integers(0, 256, frame[mark.box].shape)  # a lively wall
        mark.draw(frame)
    encode_segment(np.stack(frames), tmp_path / "marked.ts", start_frame=0)
    path = tmp_path / "marked.webm"

    opaque = mark.box_shares.in_pixels(SIDE, SIDE)
    write_alpha_video([tmp_path / "marked.ts"], [(voice, 0.0)], 3, path, opaque=opaque)

    for frame in decoded(path):
        plate = frame[mark.box]
        assert plate[3:-3, 3:-3, 3].min() >= 251
        assert plate[..., :3].max() > 215  # the letters
        edge = plate[3:5, 3:-3, :3].astype(int)  # above the letters
        assert np.abs(edge - PLATE).max() < 12


def test_players_are_told_of_the_alpha_and_get_the_sound_in_time(film: Path) -> None:
    with av.open(str(film)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert {key.lower(): value for key, value in video.metadata.items()}["alpha_mode"] == "1"
        assert (video.codec_context.name, audio.codec_context.name) == ("vp9", "opus")
        assert video.average_rate == 25
        container_comment = {key.lower(): value for key, value in container.metadata.items()}["comment"]
        assert container_comment.startswith("AI-generated")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
        sound = np.zeros(48_000, np.float32)
        for frame in container.decode(audio):
            start = round(frame.time * 48_000)
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray()[0]
                sound[start : start + len(samples)] = samples
                start += len(samples)
    loud = np.flatnonzero(np.abs(sound) > 0.05)
    assert abs(loud[0] / 48_000 - 0.04) < 0.003  # the voice starts in the second frame
    assert abs(loud[-1] / 48_000 - 0.2) < 0.021  # and is cut after the fifth; Opus ends with a whole packet


def test_equal_segments_give_equal_bytes(film: Path, segments: list[Path], voice: Path, tmp_path: Path) -> None:
    shares: list[float] = []

    write_alpha_video(segments, [(voice, 0.04)], 5, tmp_path / "again.webm", opaque=MARK, on_progress=shares.append)

    assert (tmp_path / "again.webm").read_bytes() == film.read_bytes()
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_film_without_a_person_is_not_written(empty_scene: Picture, voice: Path, tmp_path: Path) -> None:
    encode_segment(np.stack([empty_scene] * 2), tmp_path / "0.ts", start_frame=0)

    assert not write_alpha_video([tmp_path / "0.ts"], [(voice, 0.0)], 2, tmp_path / "film.webm")
    assert not (tmp_path / "film.webm").exists()


def test_a_missing_frame_is_an_error_and_leaves_no_file(segments: list[Path], voice: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 frames in the segments instead of 6"):
        write_alpha_video(segments, [(voice, 0.0)], 6, tmp_path / "film.webm")

    assert list(tmp_path.iterdir()) == []
