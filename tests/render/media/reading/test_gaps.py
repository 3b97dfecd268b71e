from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from accounts.errors import ServiceError
from render.media.reading.gaps import AudioGaps
from tests.render.media.audio.sounds import copied, loudness, made_of, played

SOURCES = {"opus": ("a.webm", "libopus"), "aac": ("a.m4a", "aac")}


def assert_as_played(source: Path, *, seconds: float) -> None:
    made, expected = made_of(source), played(source)
    assert made.seconds == pytest.approx(seconds, abs=0.06)
    assert made.seconds == pytest.approx(len(expected) / 16_000, abs=0.03)
    assert made.sound.shape[1] / made.rate == pytest.approx(made.seconds, abs=0.001)
    step = 1600
    levels = [
        [loudness(sound[at : at + step]) for at in range(0, len(expected) - step, step)]
        for sound in (made.mono, expected)
    ]
    np.testing.assert_allclose(levels[0], levels[1], atol=0.06)
    assert made.lost_seconds == 0


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("opus", "webm"),
        ("opus", "ogg"),
        ("opus", "mkv"),
        ("aac", "mp4"),
        ("aac", "mkv"),
        ("aac", "ts"),
    ],
)
def test_a_pause_without_packets_stays_a_pause(
    codec: str, suffix: str, write_sound: Callable[..., Path], tmp_path
) -> None:
    whole = write_sound(SOURCES[codec][0], SOURCES[codec][1], 48_000, seconds=3)

    source = copied(whole, tmp_path / f"gap.{suffix}", lambda at: not 1 <= at < 2)

    assert_as_played(source, seconds=3)
    made = made_of(source)
    assert loudness(made.mono[20_000:28_000]) < 0.01 < 0.3 < loudness(made.mono[36_000:40_000])
    assert loudness(made.sound[0, 60_000:84_000]) < 0.01


def test_many_short_gaps_add_up(write_sound: Callable[..., Path], tmp_path: Path) -> None:
    """Packets that were lost one at a time: each gap is too short to be more than a clock's unevenness."""
    whole = write_sound("a.webm", "libopus", 48_000, seconds=3)

    source = copied(whole, tmp_path / "gaps.webm", lambda at: round(at * 50) % 5 != 3)

    assert made_of(source).seconds == pytest.approx(3, abs=0.06)


def late_film(name: str, film: Path, sound: Path, folder: Path, *, film_at: float, sound_at: float) -> Path:
    path = folder / name
    with av.open(str(film)) as first, av.open(str(sound)) as second, av.open(str(path), "w") as target:
        pairs = [
            (source, source.streams[0], target.add_stream_from_template(source.streams[0]))
            for source in (first, second)
        ]
        for (source, track, copy), shift in zip(pairs, (film_at, sound_at), strict=True):
            for packet in source.demux(track):
                if packet.size:
                    packet.pts += round(shift / packet.time_base)
                    packet.dts += round(shift / packet.time_base)
                    packet.stream = copy
                    target.mux(packet)
    return path


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
@pytest.mark.parametrize(("film_at", "sound_at", "seconds"), [(0, 1, 3), (1.4, 1.4, 2), (1, 0, 2), (5, 6.5, 3.5)])
def test_a_film_whose_sound_begins_late_begins_with_silence(
    name: str, film_at: float, sound_at: float, seconds: float, write_film, write_sound, tmp_path: Path
) -> None:
    film = write_film("a.mp4", num_frames=50, codec_options={"bf": "0"})

    source = late_film(name, film, write_sound("a.m4a", "aac", 48_000), tmp_path, film_at=film_at, sound_at=sound_at)

    assert made_of(source).seconds == pytest.approx(seconds, abs=0.07)


def test_a_sound_that_begins_late_on_its_own_has_nothing_to_wait_for(write_sound, tmp_path: Path) -> None:
    source = copied(write_sound("a.webm", "libopus", 48_000), tmp_path / "late.webm", shift=7)

    assert_as_played(source, seconds=2)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        *(("a.webm", "libopus", 48_000), ("a.ogg", "libopus", 48_000)),
        *(("a.mkv", "aac", 44_100), ("a.mkv", "aac", 48_000), ("a.mkv", "libmp3lame", 44_100)),
        *(("a.ts", "aac", 44_100), ("a.flv", "aac", 44_100)),
    ],
)
def test_rounded_time_stamps_are_no_pauses(name: str, codec: str, rate: int, write_sound: Callable[..., Path]) -> None:
    source = write_sound(name, codec, rate, seconds=2)

    with av.open(str(source)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        made = made_of(source)
        assert made.sound.shape[1] == samples


@pytest.mark.parametrize("ticks", [10**6, 10**9, 2**40])
def test_a_time_stamp_of_years_is_refused_before_any_silence_is_made(ticks: int, write_sound, tmp_path: Path) -> None:
    whole = write_sound("a.webm", "libopus", 48_000)
    source = tmp_path / "far.mkv"
    with av.open(str(whole)) as old, av.open(str(source), "w") as new:
        copy = new.add_stream_from_template(old.streams[0])
        for number, packet in enumerate(old.demux(old.streams[0])):
            if packet.size:
                packet.pts = packet.dts = packet.pts + (ticks if number > 50 else 0)
                packet.stream = copy
                new.mux(packet)

    with pytest.raises(ServiceError) as caught:
        made_of(source, max_seconds=600)

    assert caught.value.code == "audio_too_long"


def frame_at(seconds: float | None, *, samples: int = 480, kind: str = "s16", layout: str = "mono") -> av.AudioFrame:
    silent = np.full((1, samples * av.AudioLayout(layout).nb_channels), 0)
    dtype = {"s16": np.int16, "u8": np.uint8, "flt": np.float32, "s32": np.int32, "dbl": np.float64}[kind]
    frame = av.AudioFrame.from_ndarray(silent.astype(dtype), format=kind, layout=layout)
    frame.sample_rate, frame.time_base = 48_000, Fraction(1, 1000)
    frame.pts = None if seconds is None else round(seconds * 1000)
    return frame


def silences(container: str, *times: float | None, is_damaged: bool = False, start: float = 0) -> list[float]:
    """Seconds of silence before each frame of 10 ms."""
    gaps = AudioGaps(container, start)
    return [
        round(sum(s.samples for s in gaps.fill(frame_at(at), is_damaged=is_damaged, check=lambda _: None)) / 48_000, 3)
        for at in times
    ]


@pytest.mark.parametrize(
    ("container", "times", "expected"),
    [
        ("matroska,webm", [0, 0.011, 0.019, 0.03], [0, 0, 0, 0]),  # rounded
        ("matroska,webm", [0, 1.01, 1.02], [0, 1, 0]),
        ("matroska,webm", [0, None, 0.02, 0.53], [0, 0, 0, 0.5]),
        ("matroska,webm", [0, 0.01, 0.005, 0.03], [0, 0, 0, 0]),  # an overlap
        ("matroska,webm", [5, 5.01, 0, 0.01, 0.5], [5, 0, 0, 0, 0.48]),  # begun anew
        ("matroska,webm", [0, 20], [0, 19.99]),
        ("mpegts", [0, 20, 20.01], [0, 0, 0]),  # cut and joined
        ("mpegts", [0, 95_000, 3, 3.5], [0, 0, 0, 0.49]),  # its clock has gone round
        ("mpegts", [0, 9], [0, 8.99]),
        ("mp3", [0, 1, 2], [0, 0, 0]),
        ("wav", [3, 9], [0, 0]),
    ],
)
def test_which_time_stamps_are_pauses(container: str, times: list[float | None], expected: list[float]) -> None:
    assert silences(container, *times) == expected


def test_what_was_damaged_keeps_its_time() -> None:
    assert silences("mp3", 0, 0.036, is_damaged=True) == [0, 0.026]


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize("kind", ["u8", "s16", "s32", "flt", "dbl"])
@pytest.mark.parametrize("planar", [False, True])
def test_silence_is_silent_in_each_format(kind: str, planar: bool, layout: str) -> None:
    frame = frame_at(1, kind=kind, layout=layout)
    if planar:
        (frame,) = av.AudioResampler(format=f"{kind}p").resample(frame)

    (first, *_) = AudioGaps("ogg", 0).fill(frame, is_damaged=False, check=lambda _: None)

    assert (first.format.name, first.layout.name, first.sample_rate) == (frame.format.name, layout, 48_000)
    (heard,) = av.AudioResampler(format="s16").resample(first)
    assert not heard.to_ndarray().any()
