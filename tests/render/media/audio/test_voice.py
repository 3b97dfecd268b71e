import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from accounts.errors import ServiceError
from render.media.audio.voice import normalise_voice

CODECS = {
    "a.wav": ("pcm_s16le", 22_050),
    "a.mp3": ("libmp3lame", 44_100),
    "a.m4a": ("aac", 48_000),
    "a.aac": ("aac", 16_000),
    "a.ogg": ("libopus", 48_000),
    "a.webm": ("libopus", 48_000),
    "a.flac": ("flac", 44_100),
    "a.mp4": ("aac", 44_100),
}


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("name", CODECS)
def test_it_decodes(name: str, layout: str, write_sound: Callable[..., Path], tmp_path: Path) -> None:
    source = write_sound(name, *CODECS[name], layout=layout)

    voice = normalise_voice(source, tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    with wave.open(str(voice.path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16_000, 1, 2)
        assert wav.getnframes() == round(voice.duration_seconds * 16_000)
        samples = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
    assert voice.audio == source
    assert voice.duration_seconds == pytest.approx(2, abs=0.15)  # ADTS cannot say which samples are padding
    spectrum = np.abs(np.fft.rfft(samples[8000:24000]))
    assert spectrum.argmax() == 440
    assert np.abs(samples).max() == pytest.approx(0.5 * 32_767, rel=0.1)


def test_it_takes_the_sound_of_a_film(
    write_sound: Callable[..., Path], write_film: Callable[..., Path], remux: Callable[..., Path], tmp_path: Path
) -> None:
    path = remux("film.mkv", write_film("silent.mp4"), write_sound("a.m4a", "aac", 48_000))

    voice = normalise_voice(path, tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    assert voice.duration_seconds == pytest.approx(2, abs=0.1)


def test_it_counts_samples_and_does_not_believe_the_header(write_wav: Callable[..., Path], tmp_path: Path) -> None:
    source = write_wav("a.wav", np.ones(16_001, np.int16), 16_000)
    content = bytearray(source.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # what a recorder writes that does not know the length yet
    source.write_bytes(content)

    voice = normalise_voice(source, tmp_path / "voice.wav", max_seconds=2, param="audio_url")

    assert voice.duration_seconds == 16_001 / 16_000


def test_it_accepts_exactly_the_longest_voice(write_wav: Callable[..., Path], tmp_path: Path) -> None:
    source = write_wav("a.wav", np.ones(16_000, np.int16), 16_000)

    assert normalise_voice(source, tmp_path / "voice.wav", max_seconds=1, param="audio_url").duration_seconds == 1


def test_it_reads_tags_in_old_encodings(write_sound: Callable[..., Path], tmp_path: Path) -> None:
    path = write_sound("a.mp3", *CODECS["a.mp3"])
    path.write_bytes(path.read_bytes() + b"TAG" + b"Caf\xe9".ljust(125, b"\0"))

    assert normalise_voice(path, tmp_path / "voice.wav", max_seconds=10, param="audio_url").duration_seconds > 1.9


def test_it_says_which_length_is_allowed(write_wav: Callable[..., Path], tmp_path: Path) -> None:
    source = write_wav("a.wav", np.ones(16_001, np.int16), 16_000)

    with pytest.raises(ServiceError, match=r"^The audio is longer than the 1 s that this key allows\.$") as caught:
        normalise_voice(source, tmp_path / "voice.wav", max_seconds=1, param="audio_url_2")

    assert (caught.value.code, caught.value.param) == ("audio_too_long", "audio_url_2")
    assert not (tmp_path / "voice.wav").exists()


@pytest.mark.parametrize("name", ["a.m4a", "a.flac", "a.mp4"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_it_refuses_a_part_of_a_file(name: str, part: float, write_sound: Callable[..., Path], tmp_path: Path) -> None:
    source = write_sound(name, *CODECS[name])
    content = source.read_bytes()
    source.write_bytes(content[: int(len(content) * part)])

    with pytest.raises(ServiceError) as caught:
        normalise_voice(source, tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    assert caught.value.code == "audio_invalid"


@pytest.mark.parametrize("extra", [0, 10], ids=["between two packets", "within a packet"])
def test_it_refuses_a_part_of_an_mp4_that_has_its_index_in_front(
    extra: int, write_sound: Callable[..., Path], remux: Callable[..., Path], tmp_path: Path
) -> None:
    path = remux("fast.mp4", write_sound("a.m4a", "aac", 48_000), options={"movflags": "+faststart"})
    with av.open(str(path)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(container.streams[0]) if packet.size]
    path.write_bytes(path.read_bytes()[: ends[40] + extra])

    with pytest.raises(ServiceError) as caught:
        normalise_voice(path, tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    assert caught.value.code == "audio_invalid"


def test_it_refuses_a_voice_that_is_damaged_midway(write_sound: Callable[..., Path], tmp_path: Path) -> None:
    source = write_sound("a.m4a", *CODECS["a.m4a"])
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 500] = b"\xff" * 500
    source.write_bytes(content)

    with pytest.raises(ServiceError) as caught:
        normalise_voice(source, tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    assert caught.value.code == "audio_invalid"


WAV_WITHOUT_SAMPLES = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
WAV_AT_1_HZ = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\1\0\0\0\2\0\0\0\2\0\x10\0data\0\1\0\0" + bytes(256)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "audio_invalid"),
        (b"<html>", "audio_invalid"),
        (bytes(range(256)) * 100, "audio_invalid"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "audio_invalid"),
        (WAV_AT_1_HZ, "audio_invalid"),
        (WAV_WITHOUT_SAMPLES, "audio_empty"),
    ],
    ids=["empty", "html", "noise", "playlist", "1 Hz", "no samples"],
)
def test_it_refuses(content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)

    with pytest.raises(ServiceError) as caught:
        normalise_voice(tmp_path / "source", tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    assert (caught.value.code, caught.value.param) == (code, "audio_url")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_it_refuses_a_silent_film(write_film: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        normalise_voice(write_film("silent.mp4"), tmp_path / "voice.wav", max_seconds=10, param="audio_url")

    assert caught.value.code == "audio_invalid"
