"""A voice is heard whatever a few samples hold, and wherever a program has put it."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.render.media.audio.sounds import loudness, made_of

RATE = 16_000
TIMES = np.arange(RATE) / RATE
TONE = (0.3 * np.sin(2 * np.pi * 300 * TIMES)).astype(np.float32)


@pytest.fixture
def write_floats(tmp_path: Path) -> Callable[..., Path]:
    """samples: channels x samples, as they are."""

    def write(
        samples: NDArray[np.float32], layout: str = "mono", name: str = "a.wav", codec: str = "pcm_f32le"
    ) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=RATE, layout=layout)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout=layout
            )
            frame.sample_rate = RATE
            for piece in av.AudioResampler(format=stream.format, layout=layout, rate=RATE).resample(frame):
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        return tmp_path / name

    return write


@pytest.mark.parametrize("broken", [1e30, -1e30, 3e38, 1000, np.inf, -np.inf, np.nan])
def test_a_broken_sample_spoils_nothing(broken: float, write_floats) -> None:
    samples = TONE.copy()
    samples[4000] = broken
    made = made_of(write_floats(samples[None]))

    for sound in (made.mono, made.sound[0]):
        assert loudness(sound[4200:8000]) == pytest.approx(0.3 / 2**0.5, rel=0.05)
        assert loudness(sound[:3800]) == pytest.approx(0.3 / 2**0.5, rel=0.05)


def test_a_broken_channel_leaves_the_other(write_floats) -> None:
    made = made_of(write_floats(np.stack([TONE, np.full_like(TONE, np.nan)]), "stereo"))

    assert loudness(made.mono) == pytest.approx(0.3 / 2**0.5, rel=0.05)
    assert loudness(made.sound[0]) == pytest.approx(0.3 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("scale", [100, 32_767, 1e9])
def test_samples_of_another_scale_are_heard(scale: float, write_floats) -> None:
    samples = np.stack([TONE * scale] * 8)
    made = made_of(write_floats(samples, "7.1"))

    assert np.abs(made.mono).max() <= 1
    assert loudness(made.mono) > 0.5


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("f.wav", "pcm_f32le"), ("a.flac", "flac")])
@pytest.mark.parametrize("layout", ["5.1", "7.1", "2.1"])
def test_a_voice_in_the_channel_of_low_frequencies_is_heard(layout: str, name: str, codec: str, write_floats) -> None:
    channels = [channel.name for channel in av.AudioLayout(layout).channels]
    samples = np.zeros((len(channels), RATE), np.float32)
    samples[channels.index("LFE")] = TONE
    made = made_of(write_floats(samples, layout, name, codec))

    assert loudness(made.mono) == pytest.approx(0.3 / 2**0.5, rel=0.05)
    assert min(loudness(side) for side in made.sound) > 0.05


def test_low_frequencies_are_left_out_beside_a_voice(write_floats) -> None:
    samples = np.zeros((6, RATE), np.float32)
    samples[2], samples[3] = TONE, 3 * np.roll(TONE, 20)
    samples[2, 8000:] = 0  # an effect goes on behind the last word
    made = made_of(write_floats(samples, "5.1"))

    assert loudness(made.mono[:7000]) == pytest.approx(0.3 / 2**0.5, rel=0.05)
    assert loudness(made.mono[9000:]) < 0.01
