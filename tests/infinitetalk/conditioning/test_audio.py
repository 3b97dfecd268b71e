"""Voices of any kind of file come out at 16 kHz, one channel, one loudness, placed in the scene."""

import struct
import wave
from pathlib import Path

import av
import numpy as np
import pyloudnorm
import pytest

from infinitetalk.conditioning.audio import LOUDNESS, SAMPLE_RATE, arrange_voices, load_voice, normalise_loudness
from infinitetalk.errors import InvalidInput


def tone(seconds: float, amplitude: float = 0.3, rate: int = SAMPLE_RATE, hertz: float = 220) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, channels: list[np.ndarray], rate: int, codec: str, layout: str) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.stack(channels), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for piece in resampler.resample(frame):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_s16le", 8_000, "mono"),
        ("a.wav", "pcm_f32le", 44_100, "stereo"),
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.m4a", "aac", 48_000, "5.1"),
        ("a.flac", "flac", 96_000, "stereo"),
        ("a.opus", "libopus", 48_000, "mono"),
    ],
)
def test_any_file_is_read(tmp_path: Path, name: str, codec: str, rate: int, layout: str) -> None:
    channels = [tone(1, rate=rate)] * {"mono": 1, "stereo": 2, "5.1": 6}[layout]

    voice = load_voice(write(tmp_path / name, channels, rate, codec, layout))

    assert voice.dtype == np.float32
    assert len(voice) == pytest.approx(SAMPLE_RATE, abs=1024)  # AAC comes in whole blocks
    middle = voice[4000:12_000]
    assert np.abs(np.fft.rfft(middle)).argmax() * SAMPLE_RATE / len(middle) == pytest.approx(220, abs=2)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(0.1)
    path = write(tmp_path / "a.wav", [left, np.zeros_like(left)], SAMPLE_RATE, "pcm_f32le", "stereo")

    np.testing.assert_array_equal(load_voice(path), left / 2)


def test_old_tags_do_no_harm(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.wav", [tone(0.1)], SAMPLE_RATE, "pcm_s16le", "mono").read_bytes())
    tags = b"INFOINAM" + struct.pack("<I", 4) + b"\xe9\xe8\xff\x00"
    content += b"LIST" + struct.pack("<I", len(tags)) + tags
    struct.pack_into("<I", content, 4, len(content) - 8)
    (tmp_path / "tagged.wav").write_bytes(content)

    assert len(load_voice(tmp_path / "tagged.wav")) == 1600


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    with wave.open(str(tmp_path / "nothing.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    write(tmp_path / "nan.wav", [np.full(1600, np.nan, np.float32)], SAMPLE_RATE, "pcm_f32le", "mono")

    for name, code in [
        ("text.wav", "audio_invalid"),
        ("missing.wav", "audio_invalid"),
        ("nothing.wav", "audio_empty"),
        ("nan.wav", "audio_invalid"),
    ]:
        with pytest.raises(InvalidInput) as caught:
            load_voice(tmp_path / name)
        assert caught.value.code == code, name


@pytest.mark.parametrize("amplitude", [0.003, 0.1, 1.0])
def test_every_voice_gets_the_same_loudness(amplitude: float) -> None:
    voice = normalise_loudness(tone(2, amplitude))

    assert voice.dtype == np.float32
    assert pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(voice.astype(float)) == pytest.approx(LOUDNESS, abs=0.01)


@pytest.mark.parametrize("voice", [tone(0.39), np.zeros(SAMPLE_RATE, np.float32), tone(1, 1e-5)])
def test_silence_and_a_moment_are_left_alone(voice: np.ndarray) -> None:
    np.testing.assert_array_equal(normalise_loudness(voice), voice)


@pytest.mark.parametrize(
    ("order", "left", "right"),
    [("left_right", (0, 0.5), (0.5, 1.3)), ("right_left", (0.8, 1.3), (0, 0.8)), ("meanwhile", (0, 0.5), (0, 0.8))],
)
def test_each_voice_has_its_time(order, left: tuple[float, float], right: tuple[float, float]) -> None:
    voices = [tone(0.5, 0.01), tone(0.8, 0.5)]

    arranged = arrange_voices(voices, order)

    assert len({len(voice) for voice in arranged}) == 1
    for out, voice, (start, stop) in zip(arranged, voices, (left, right), strict=True):
        first, last = round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE)
        np.testing.assert_array_equal(out[first:last], normalise_loudness(voice))
        assert not out[:first].any()
        assert not out[last:].any()


def test_one_voice_stays_as_long_as_it_is() -> None:
    [voice] = arrange_voices([tone(0.7)], "left_right")

    assert len(voice) == round(0.7 * SAMPLE_RATE)


@pytest.mark.parametrize("number", [0, 3])
def test_only_one_or_two_can_speak(number: int) -> None:
    with pytest.raises(InvalidInput):
        arrange_voices([tone(0.5)] * number)
