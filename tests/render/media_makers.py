"""Makers of media files of every kind, whole or with claims that are not true."""

import io
import struct
import tarfile
import tempfile
import wave
import zipfile
import zlib
from pathlib import Path

import av
import numpy as np
from PIL import Image

FRAME = np.tile(np.linspace(0, 255, 160, dtype=np.uint8)[None, :, None], (120, 1, 3))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    """Black; small, however many pixels. `pixels`: what is said to be the compressed picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    if pixels is None:
        packer = zlib.compressobj(1)
        pixels = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    parts = [png_chunk(b"IHDR", header), extra, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def picture(kind: str, size: tuple[int, int] = (320, 240), **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.resize(FRAME, (size[1], size[0], 3))).save(file, kind, **options)
    return file.getvalue()


def animation(kind: str, frames: int = 5) -> bytes:
    file = io.BytesIO()
    first, *rest = [Image.new("RGB", (128, 128), (level * 20, 0, 0)) for level in range(frames)]
    first.save(file, kind, save_all=True, append_images=rest)
    return file.getvalue()


def film(
    container: str, codec: str, *, size: tuple[int, int] = (160, 120), pixels: str = "yuv420p", rate: int = 25,
    frames: int = 25, sound: str = "", **options: str,
) -> bytes:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        with av.open(str(path), "w", format=container) as target:
            video = target.add_stream(codec, rate=rate, options=options)
            video.width, video.height, video.pix_fmt = *size, pixels
            video.codec_context.thread_count = 1  # threads of libvpx spin while they wait
            audio = target.add_stream(sound, rate=44_100, layout="mono") if sound else None
            source = np.resize(FRAME, (size[1], size[0], 3))
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(np.roll(source, number, axis=1), format="rgb24")
                target.mux(video.encode(frame))
            target.mux(video.encode(None))
            if audio is not None:
                _add_tone(target, audio, 1)
        return path.read_bytes()


def voice(container: str, codec: str, *, seconds: float = 2, rate: int = 44_100, silent: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice"
        with av.open(str(path), "w", format=container) as target:
            _add_tone(target, target.add_stream(codec, rate=rate, layout="mono"), seconds, silent=silent)
        return path.read_bytes()


def _add_tone(target, stream, seconds: float, *, silent: bool = False) -> None:
    rate, block = stream.rate, 4096
    stream.bit_rate = 64_000
    for start in range(0, int(seconds * rate), block):
        times = (start + np.arange(block)) / rate
        samples = np.zeros(block) if silent else 8000 * np.sin(2 * np.pi * 220 * times)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))


def wav(seconds: float = 2, *, channels: int = 1, width: int = 2, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(channels)
        target.setsampwidth(width)
        target.setframerate(rate)
        target.writeframes(bytes(range(256)) * int(seconds * rate * channels * width // 256))
    return file.getvalue()


def wav_of(*, tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, data: bytes = b"", claim: int = -1):
    """A WAV whose header says whatever is wanted."""
    align = max(channels * bits // 8, 0) & 0xFFFF
    fmt = struct.pack("<HHIIHH", tag, channels, rate, (rate * align) & 0xFFFFFFFF, align, bits)
    size = len(data) if claim < 0 else claim
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size & 0xFFFFFFFF) + data
    return b"RIFF" + struct.pack("<I", (len(body) if claim < 0 else claim) & 0xFFFFFFFF) + body


def zip_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tar_of(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def with_claimed_size(content: bytes, offset: int, width: int, height: int) -> bytes:
    """Overwrites a JPEG's or another header's big-endian height and width."""
    return content[:offset] + struct.pack(">HH", height, width) + content[offset + 4 :]


def moved_data(content: bytes) -> bytes:
    """An mp4 without its index: what a recorder leaves that was switched off."""
    place = content.index(b"moov") - 4
    return content[:place]
