"""Real media files, made by the libraries that will read them."""

import wave
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

# Encoders that take their time unless they are told not to.
QUICKLY = {
    "libx264": {"preset": "veryfast"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@pytest.fixture(scope="session")
def encoded() -> dict[object, bytes]:
    """What was written, by all that was asked for: many tests damage the same file."""
    return {}


@pytest.fixture
def write_sound(tmp_path: Path, encoded: dict[object, bytes]) -> Callable[..., Path]:
    """A sine tone in any container and codec."""

    def write(
        name: str, codec: str, rate: int, *, seconds: float = 2.0, layout: str = "mono", frequency: float = 440
    ) -> Path:
        path = tmp_path / name
        asked = path.suffix, codec, rate, seconds, layout, frequency
        if asked in encoded:
            path.write_bytes(encoded[asked])
            return path
        times = np.arange(round(seconds * rate)) / rate
        tone = (
            0.5 * np.sin(2 * np.pi * frequency * times) * np.minimum(1, times / 0.05)
        )  # lossy codecs spoil hard starts
        channels = np.repeat(tone[None].astype(np.float32), 2 if layout == "stereo" else 1, axis=0)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 128_000
            frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.pts = 0
            resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        encoded[asked] = path.read_bytes()
        return path

    return write


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """Samples (s16) as a WAV file."""

    def write(name: str, samples: NDArray[np.int16], rate: int) -> Path:
        path = tmp_path / name
        with wave.open(str(path), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(rate)
            wav.writeframes(samples.astype("<i2").tobytes())
        return path

    return write


@pytest.fixture
def write_film(tmp_path: Path, encoded: dict[object, bytes]) -> Callable[..., Path]:
    """A silent film whose upper left quarter is red and whose rest is blue."""

    def write(
        name: str,
        codec: str = "libx264",
        *,
        rate: int = 25,
        num_frames: int = 25,
        size: tuple[int, int] = (160, 96),
        aspect: Fraction = Fraction(1),
        options: dict[str, str] | None = None,
        codec_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        codec_options = {**QUICKLY.get(codec, {}), **(codec_options or {})}
        asked = path.suffix, codec, rate, num_frames, size, aspect, str(options), str(codec_options)
        if asked in encoded:
            path.write_bytes(encoded[asked])
            return path
        width, height = size
        pixels = np.full((height, width, 3), (20, 20, 200), np.uint8)
        pixels[: height // 2, : width // 2] = (200, 20, 20)
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=rate, options=codec_options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.sample_aspect_ratio = aspect
            stream.codec_context.thread_count = 1  # threads of libvpx spin while they wait
            for number in range(num_frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        encoded[asked] = path.read_bytes()
        return path

    return write


@pytest.fixture
def remux(tmp_path: Path) -> Callable[..., Path]:
    """The first tracks of several files in one, their packets copied."""

    def remux(
        name: str,
        *sources: Path,
        cover: Path | None = None,
        options: dict[str, str] | None = None,
        defaults: list[bool] | None = None,
    ) -> Path:
        path = tmp_path / name
        with ExitStack() as files:
            target = files.enter_context(av.open(str(path), "w", options=options or {}))
            pairs = []
            for source in (*sources, *([cover] if cover else [])):
                track = files.enter_context(av.open(str(source))).streams[0]
                pairs.append((track, target.add_stream_from_template(track)))
            if cover:
                pairs[-1][1].disposition = Disposition.attached_pic
            for is_default, (_, copy) in zip(defaults or [], pairs, strict=False):
                copy.disposition = Disposition.default if is_default else Disposition(0)
            for track, copy in pairs:
                for packet in track.container.demux(track):
                    if packet.size:
                        packet.stream = copy
                        target.mux(packet)
        return path

    return remux
