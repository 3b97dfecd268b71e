"""What moves the mouth, and the film's sound, from recordings whose channels differ or are too loud."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from render.media.audio.downmix import MonoDownmix
from render.media.audio.limiter import BLOCK, Limiter
from render.media.audio.resampling import as_s16
from tests.render.media.audio.sounds import loudness, made_of

RATE = 16_000
TIMES = np.arange(3 * RATE) / RATE
# Syllables of a voice: overtones of a pitch that moves, which come and go.
PITCH = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * TIMES)) / RATE
OVERTONES = sum(np.sin(number * PITCH) / number for number in range(1, 20))
VOICE = (0.25 * OVERTONES * np.clip(np.sin(2 * np.pi * 3 * TIMES), 0, 1)).astype(np.float32)
NOISE = np.random.default_rng(1).normal(0, 0.02, (2, len(VOICE))).astype(np.float32)
SILENCE = np.zeros_like(VOICE)
HALF = len(VOICE) // 2


def mixed(layout: str, *channels: NDArray[np.float32], size: int = 1000) -> NDArray[np.float32]:
    mono, samples = MonoDownmix(RATE), np.stack(channels)
    blocks = [mono.push(av.AudioLayout(layout), samples[:, at : at + size]) for at in range(0, len(VOICE), size)]
    return np.concatenate([*blocks, mono.flush()], axis=1)[0]


def delayed(milliseconds: float) -> NDArray[np.float32]:
    return np.roll(VOICE, round(milliseconds * RATE / 1000))


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        ("mono", [VOICE]),
        ("stereo", [VOICE, VOICE]),
        ("stereo", [VOICE, -VOICE]),
        ("stereo", [VOICE, SILENCE]),
        ("stereo", [SILENCE, VOICE]),
        ("stereo", [VOICE, -0.4 * VOICE]),
        ("5.1", [SILENCE, SILENCE, VOICE, SILENCE, SILENCE, SILENCE]),
        ("5.1", [VOICE, VOICE, VOICE, VOICE, VOICE, VOICE]),
        ("5.1", [VOICE, -VOICE, SILENCE, SILENCE, SILENCE, SILENCE]),
        ("5.1", [-0.7 * VOICE, -0.7 * VOICE, VOICE, SILENCE, SILENCE, SILENCE]),
        ("7.1", [SILENCE, SILENCE, VOICE, *[SILENCE] * 5]),
        ("7.1", [SILENCE] * 6 + [VOICE, -VOICE]),
        ("quad", [VOICE, VOICE, -VOICE, -VOICE]),
        ("6 channels", [VOICE, -VOICE, SILENCE, SILENCE, SILENCE, SILENCE]),
    ],
)
def test_a_voice_is_as_loud_as_in_its_loudest_channel(layout: str, channels: list[NDArray[np.float32]]) -> None:
    found = mixed(layout, *channels)

    assert len(found) == len(VOICE)
    np.testing.assert_allclose(np.abs(found), np.abs(VOICE), atol=1e-4)


@pytest.mark.parametrize("milliseconds", [0.1, 0.3, 0.5, 1, 2, 3.5, 5, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_channel_that_is_late_does_not_make_it_quiet_or_hollow(milliseconds: float, sign: int) -> None:
    found = mixed("stereo", VOICE, sign * delayed(milliseconds))

    assert loudness(found) == pytest.approx(loudness(VOICE), rel=0.1)
    likeness = max(abs(np.corrcoef(found, near)[0, 1]) for near in (VOICE, delayed(milliseconds)))
    assert likeness > 0.6


def test_both_of_two_people_are_heard_each_in_a_channel() -> None:
    first, second = VOICE.copy(), np.roll(VOICE, HALF // 3)
    first[HALF:], second[:HALF] = 0, 0

    found = mixed("stereo", first, second)

    np.testing.assert_allclose(found[:HALF], first[:HALF], atol=0.01)
    assert np.corrcoef(found[HALF + RATE // 2 :], second[HALF + RATE // 2 :])[0, 1] > 0.99


def test_noise_in_a_dead_channel_is_not_made_loud() -> None:
    found = mixed("stereo", VOICE + NOISE[0], -VOICE + NOISE[1])

    assert loudness(found - VOICE) < 0.04


@pytest.mark.parametrize("first", [1, -1])
def test_where_a_channel_turns_round_there_is_no_click(first: int) -> None:
    other = np.concatenate([first * VOICE[:HALF], -first * VOICE[HALF:]])

    found = mixed("stereo", VOICE, other)

    assert np.abs(np.diff(found)).max() < 2 * np.abs(np.diff(VOICE)).max()
    assert loudness(found) == pytest.approx(loudness(VOICE), rel=0.1)


@pytest.mark.parametrize("size", [1, 7, 320, 48_000])
def test_it_does_not_matter_how_the_sound_is_cut_up(size: int) -> None:
    whole = mixed("stereo", VOICE[:4800], delayed(2)[:4800], size=48_000)

    np.testing.assert_allclose(mixed("stereo", VOICE[:4800], delayed(2)[:4800], size=size), whole, atol=1e-6)


def test_silence_is_mixed_to_silence() -> None:
    assert not mixed("stereo", SILENCE, SILENCE).any()


def limited(samples: NDArray[np.float32], size: int = 700) -> NDArray[np.float32]:
    limiter = Limiter()
    blocks = [limiter.push(samples[:, at : at + size]) for at in range(0, samples.shape[1], size)]
    return np.concatenate([*blocks, limiter.flush()], axis=1)


@pytest.mark.parametrize("samples", [1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 10_001])
def test_what_is_within_full_scale_is_passed_on_bit_by_bit(samples: int) -> None:
    loud = np.random.default_rng(2).integers(-32_768, 32_768, (2, samples)).astype(np.int16)

    np.testing.assert_array_equal(as_s16(limited((loud / 32_768).astype(np.float32))), loud)


@pytest.mark.parametrize("peak", [1.1, 1.69, 4])
def test_what_is_too_loud_is_turned_down_without_cutting_it_off(peak: float) -> None:
    loud = np.stack([VOICE, delayed(3)]) * np.float32(peak / np.abs(VOICE).max())

    found = limited(loud)

    assert found.shape == loud.shape
    assert np.abs(found).max() <= 1
    assert min(np.corrcoef(found[0], loud[0])[0, 1], np.corrcoef(found[1], loud[1])[0, 1]) > 0.97
    assert (np.abs(found) > 0.999).sum() < 0.01 * found.size
    assert np.abs(np.diff(found)).max() <= np.abs(np.diff(loud)).max()


@pytest.fixture
def write_float(tmp_path: Path) -> Callable[..., Path]:
    """A WAV of 32-bit floats, which may go beyond full scale."""

    def write(layout: str, *channels: NDArray[np.float32]) -> Path:
        path = tmp_path / "float.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_f32le", rate=RATE, layout=layout)
            interleaved = np.ascontiguousarray(np.stack(channels).T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts = RATE, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        return path

    return write


def test_the_film_keeps_stereo_and_the_mouth_moves(write_float: Callable[..., Path]) -> None:
    made = made_of(write_float("stereo", VOICE, -VOICE))

    np.testing.assert_allclose(made.mono, VOICE, atol=1e-4)
    np.testing.assert_allclose(made.sound, [VOICE, -VOICE], atol=1e-4)


@pytest.mark.parametrize(("layout", "count"), [("mono", 1), ("stereo", 2), ("5.1", 6), ("7.1", 8)])
def test_a_voice_that_is_too_loud_does_not_clip(layout: str, count: int, write_float: Callable[..., Path]) -> None:
    loud = VOICE * np.float32(1.69 / np.abs(VOICE).max())

    made = made_of(write_float(layout, *[loud] * count))

    for found in (made.mono, *made.sound):
        assert (np.abs(found) >= 0.9999).sum() < 20
        assert np.corrcoef(found, VOICE)[0, 1] > 0.97
