import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from render.media.audio.scene import AudioOrder, arrange_scene, lengthen
from render.media.audio.voice import Voice

LEFT = np.full(16_000, 1, np.int16)
RIGHT = np.full(40_000, 2, np.int16)


@pytest.fixture
def voices(write_wav: Callable[..., Path]) -> list[Voice]:
    return [
        Voice(Path(f"{name}.mp3"), write_wav(f"{name}.16k.wav", samples, 16_000), len(samples) / 16_000)
        for name, samples in (("one", LEFT), ("two", RIGHT))
    ]


def samples_of(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16_000, 1, 2)
        return np.frombuffer(wav.readframes(wav.getnframes()), "<i2")


@pytest.mark.parametrize("order", ["meanwhile", "left_right", "right_left"])
def test_one_voice_is_the_scene(order: AudioOrder, voices: list[Voice], tmp_path: Path) -> None:
    scene = arrange_scene(voices[:1], order, tmp_path)

    assert scene.voices == (voices[0].path,)
    assert scene.audio == ((Path("one.mp3"), 0.0),)
    assert scene.duration_seconds == 1.0


@pytest.mark.parametrize(
    ("order", "left", "right", "starts", "seconds"),
    [
        ("meanwhile", [LEFT, np.zeros(24_000)], [RIGHT], (0, 0), 2.5),
        ("left_right", [LEFT, np.zeros(40_000)], [np.zeros(16_000), RIGHT], (0, 1), 3.5),
        ("right_left", [np.zeros(40_000), LEFT], [RIGHT, np.zeros(16_000)], (2.5, 0), 3.5),
    ],
)
def test_it_places_two_voices(
    order: AudioOrder,
    left: list[NDArray[np.int16]],
    right: list[NDArray[np.int16]],
    starts: tuple[float, float],
    seconds: float,
    voices: list[Voice],
    tmp_path: Path,
) -> None:
    scene = arrange_scene(voices, order, tmp_path)

    np.testing.assert_array_equal(samples_of(scene.voices[0]), np.concatenate(left))
    np.testing.assert_array_equal(samples_of(scene.voices[1]), np.concatenate(right))
    assert scene.audio == ((Path("one.mp3"), starts[0]), (Path("two.mp3"), starts[1]))
    assert scene.duration_seconds == seconds


@pytest.mark.parametrize("count", [1, 2])
def test_a_longer_video_ends_in_silence(count: int, voices: list[Voice], tmp_path: Path) -> None:
    scene = arrange_scene(voices[:count], "meanwhile", tmp_path)

    longer = lengthen(scene, 3.0, tmp_path)

    assert (longer.duration_seconds, longer.audio) == (3.0, scene.audio)
    for before, after in zip(scene.voices, longer.voices, strict=True):
        silence = np.zeros(48_000 - len(samples_of(before)))
        np.testing.assert_array_equal(samples_of(after), np.concatenate([samples_of(before), silence]))
    assert lengthen(scene, 0.5, tmp_path) == scene
