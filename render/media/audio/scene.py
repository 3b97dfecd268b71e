"""The voices of a video on one time line: which speaker begins when."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from render.media.atomic_file import atomic_file
from render.media.audio.voice import SAMPLE_RATE, Voice, wav_writer

AudioOrder = Literal["meanwhile", "left_right", "right_left"]
BLOCK = 65_536  # samples copied at a time


@dataclass(frozen=True)
class Scene:
    # One for each voice, in the order of the request: WAV, 16 kHz mono s16, all `duration_seconds` long.
    voices: tuple[Path, ...]
    audio: tuple[tuple[Path, float], ...]  # of each voice: its file at its own rate, and the second at which it starts
    duration_seconds: float


def arrange_scene(voices: Sequence[Voice], audio_order: AudioOrder, directory: Path) -> Scene:
    """Place one or two voices, which are in the order of the request.

    `meanwhile` starts both at 0; `left_right` starts the second one when the first one has ended, and `right_left` the
    other way round. (Unless the customer chooses otherwise, the first one is the left speaker's.) Silence fills the
    rest. Two voices are written to new files in `directory`; one voice is used as it is.
    """
    if len(voices) == 1:
        return Scene((voices[0].path,), ((voices[0].audio, 0.0),), voices[0].duration_seconds)
    first, second = voices
    first_samples, second_samples = (round(voice.duration_seconds * SAMPLE_RATE) for voice in voices)
    starts_by_order = {"meanwhile": (0, 0), "left_right": (0, first_samples), "right_left": (second_samples, 0)}
    starts = starts_by_order[audio_order]  # samples
    total = max(starts[0] + first_samples, starts[1] + second_samples)
    paths = (directory / "first.wav", directory / "second.wav")
    for voice, start, path in zip(voices, starts, paths, strict=True):
        _write_padded(voice.path, start, total, path)
    audio = ((first.audio, starts[0] / SAMPLE_RATE), (second.audio, starts[1] / SAMPLE_RATE))
    return Scene(paths, audio, total / SAMPLE_RATE)


def lengthen(scene: Scene, seconds: float, directory: Path) -> Scene:
    """The scene with silence at the end of each voice, so that it lasts at least so long: a video may be longer.

    The voices are written to new files in `directory`. Their sound stays as it is: `audio`.
    """
    if seconds <= scene.duration_seconds:
        return scene
    paths = tuple(directory / f"lengthened-{voice.name}" for voice in scene.voices)
    for voice, path in zip(scene.voices, paths, strict=True):
        _write_padded(voice, 0, round(seconds * SAMPLE_RATE), path)
    return Scene(paths, scene.audio, seconds)


def _write_padded(voice: Path, start: int, total: int, destination: Path) -> None:
    with atomic_file(destination) as partial, wav_writer(partial) as padded, wave.open(str(voice), "rb") as wav:
        _write_silence(padded, start)
        while block := wav.readframes(BLOCK):
            padded.writeframesraw(block)
        _write_silence(padded, total - start - wav.getnframes())


def _write_silence(wav: wave.Wave_write, samples: int) -> None:
    while samples > 0:
        block = min(samples, BLOCK)
        wav.writeframesraw(bytes(2 * block))
        samples -= block
