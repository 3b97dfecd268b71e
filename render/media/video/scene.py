"""Who speaks when: one or two voices on one time line."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from render.media.audio.voice import SAMPLE_RATE, Voice, wav_writer
from render.media.whole_file import whole_file

AudioOrder = Literal["meanwhile", "left_right", "right_left"]
BLOCK = 65_536  # samples copied at a time


@dataclass(frozen=True)
class Scene:
    voices: tuple[Path, ...]  # one per speaker, left to right: WAV, 16 kHz mono s16, all `duration_seconds` long
    sound: tuple[tuple[Path, float], ...]  # each voice's file at its own rate, and the second at which it starts
    duration_seconds: float


def arrange_scene(voices: Sequence[Voice], audio_order: AudioOrder, directory: Path) -> Scene:
    """Place the voices: the first belongs to the left speaker, the second to the right.

    `meanwhile` starts both at 0, `left_right` lets the left speak first and then the right, `right_left` the other way
    round. Silence fills the rest. Two voices are written to `directory` anew; one voice alone is the scene.
    """
    if len(voices) == 1:
        return Scene((voices[0].path,), ((voices[0].sound, 0.0),), voices[0].duration_seconds)
    left, right = voices
    left_samples, right_samples = (round(voice.duration_seconds * SAMPLE_RATE) for voice in voices)
    starts = {
        "meanwhile": (0, 0),
        "left_right": (0, left_samples),
        "right_left": (right_samples, 0),
    }[audio_order]
    total = max(starts[0] + left_samples, starts[1] + right_samples)
    paths = (directory / "left.wav", directory / "right.wav")
    for voice, start, path in zip(voices, starts, paths, strict=True):
        _write_padded(voice.path, start, total, path)
    sound = ((left.sound, starts[0] / SAMPLE_RATE), (right.sound, starts[1] / SAMPLE_RATE))
    return Scene(paths, sound, total / SAMPLE_RATE)


def _write_padded(voice: Path, start: int, total: int, destination: Path) -> None:
    with whole_file(destination) as partial, wav_writer(partial) as padded, wave.open(str(voice), "rb") as wav:
        _write_silence(padded, start)
        while block := wav.readframes(BLOCK):
            padded.writeframesraw(block)
        _write_silence(padded, total - start - wav.getnframes())


def _write_silence(wav: wave.Wave_write, samples: int) -> None:
    while samples > 0:
        block = min(samples, BLOCK)
        wav.writeframesraw(bytes(2 * block))
        samples -= block
