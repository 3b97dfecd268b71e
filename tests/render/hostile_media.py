"""Small files that are dear to decode: generators of any number of each kind, no two alike.

Sizes are chosen so that one file, decoded without limits, costs seconds to minutes, and takes well below a second to
make.
"""

import gzip
import io
import itertools
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from render.media.isolation import calls as isolated
from render.media.probe import VideoFacts
from tests.render.media_makers import film, picture, png, png_chunk, voice, wav_of, zip_of

IMAGE, VOICE = "image_url", "audio_url"
HUNDRED_HOURS = 360_000  # seconds
File = tuple[str, bytes]  # the parameter that it is given as, and its content


def scans(number: int) -> File:
    """A JPEG that goes over its pixels again and again, by copies of a scan that changes nothing."""
    size, repeats = [((6000, 6000), 2400), ((2400, 1600), 4000), ((640, 480), 9000), ((8000, 6000), 60)][number % 4]
    file = io.BytesIO()
    Image.new("RGB", size, (90 + number, 130, 140)).save(file, "JPEG", progressive=True, quality=50)
    good = file.getvalue()
    marks = [at for at in range(len(good) - 1) if good[at : at + 2] == b"\xff\xda"]
    scan = good[marks[-1] : -2] if number % 2 else good[marks[1] : marks[2]]
    return IMAGE, good[:-2] + scan * (repeats + number) + b"\xff\xd9"


def bursts(number: int) -> File:
    """A film whose frames all fall into one 25th of a second."""
    codec, container, side, frames, ticks = [
        ("libx264", "mp4", 4480, 12, 1),
        ("libx264", "matroska", 6304, 6, 90),
        ("libx265", "mp4", 3200, 14, 1),
        ("libx264", "mp4", 640, 400, 1),
    ][number % 4]
    return IMAGE, timed_film(codec, container, side - 16 * (number // 4), frames, lambda frame: frame * ticks)


def deep_gops(number: int) -> File:
    """A film with one key frame, whose edit list leaves out all but its last frames: all are decoded first."""
    side, hidden = [(1280, 320), (640, 1300), (960, 560)][number % 3]
    first = hidden + 5 * number
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    return IMAGE, timed_film("libx264", "mp4", side, first + 10, lambda frame: (frame - first) * 3600, **options)


def animations(number: int) -> File:
    """A picture that moves: hundreds of frames, of which the first alone is wanted."""
    kind = ["PNG", "WEBP", "GIF", "AVIF"][number % 4]
    count = 100 if kind == "AVIF" else 400 + number
    first, *rest = [Image.new("P" if kind == "GIF" else "RGB", (160, 160), level % 256) for level in range(count)]
    for level, frame in enumerate(rest):
        frame.putpixel((level % 160, level // 160), 255 if kind == "GIF" else (255, level % 256, 0))
    file = io.BytesIO()
    speed = {"speed": 10} if kind == "AVIF" else {}
    first.save(file, kind, save_all=True, append_images=rest, duration=40, **speed)
    return IMAGE, file.getvalue()


def hundred_hours(number: int) -> File:
    """A file that claims, or lets its time stamps claim, to last for days."""
    good = _small_film()
    return [
        lambda: (IMAGE, _with_durations(good, 0xFFFFFFF0 - number)),
        lambda: (IMAGE, _with_sample_count(good, 150_000_000 + number)),
        lambda: (IMAGE, timed_film("libx264", "matroska", 320, 3, lambda frame: frame * HUNDRED_HOURS * 90_000)),
        lambda: (VOICE, wav_of(rate=8000 + number, data=bytes(16_000), claim=2**32 - 2)),
        lambda: (VOICE, silent_flac(seconds=20 + number)),
        lambda: (VOICE, _with_durations(voice("mp4", "aac", seconds=1), 0xFFFFFFF0 - number)),
    ][number % 6]()


def nested_archives(number: int) -> File:
    """Containers in which something is packed that unpacks to a thousand times as much, and archives in archives."""
    bomb = zlib.compress(bytes(9_000_000), 9)
    return [
        lambda: (IMAGE, matroska("V_MJPEG", (320, 240), [bomb] * (150 + number))),
        lambda: (VOICE, matroska("A_PCM/INT/LIT", None, [bomb] * (150 + number))),
        lambda: (IMAGE, _compressed_movie(levels=9, num_bytes=200_000_000 + number)),
        lambda: (IMAGE, _zip_in_zip(zip_of("film.mp4", bytes(50_000_000 + number)))),
        lambda: (IMAGE, gzip.compress(gzip.compress(picture("PNG") + bytes(5_000_000 + number)))),
        lambda: (IMAGE, matroska("V_MJPEG", (320, 240), [], attachments=40_000 + number)),
        lambda: (IMAGE, png(640, 480, extra=b"".join(_text_bombs(200 + number)))),
    ][number % 7]()


KINDS: dict[str, Callable[[int], File]] = {
    "scans": scans,
    "huge frames in no time": bursts,
    "deep GOPs": deep_gops,
    "animated images": animations,
    "100-hour headers": hundred_hours,
    "zip-in-zip containers": nested_archives,
}


def decode(param: str, source: Path, folder: Path) -> None:
    """As a render's preparation does, for a voice of ten seconds. Raises ServiceError."""
    if param == VOICE:
        sound = folder / "sound.flac"
        isolated.normalise_voice(
            source, folder / "voice.wav", max_seconds=600, param=param, check=_go_on, audio_flac=sound
        )
    elif isinstance(isolated.probe(source, param=param, check=_go_on), VideoFacts):
        isolated.normalise_video(source, folder / "film.mp4", max_seconds=10, param=param, check=_go_on)
    else:
        isolated.normalise_portrait(source, folder / "portrait.png", param=param, check=_go_on)


def many_tracks(number: int) -> bytes:
    """A Matroska file of so many tracks."""
    return matroska("V_MJPEG", (320, 240), [], tracks=number)


def many_chunks(number: int) -> bytes:
    return png(320, 240, extra=png_chunk(b"prVt", b"") * number)


def many_segments(number: int) -> bytes:
    good = picture("JPEG")
    return good[:2] + b"\xff\xfe\x00\x03x" * number + good[2:]


def timed_film(
    codec: str,
    container: str,
    side: int,
    frames: int,
    tick_of: Callable[[int], int],
    encoder: dict[str, str] | None = None,
    **options: str,
) -> bytes:
    """Grey frames, one key frame. tick_of: of each frame, when it is shown, in 90,000ths of a second."""
    usual = {
        "libx264": {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=infinite:scenecut=0"},
        "libx265": {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none:keyint=-1"},
    }[codec]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        with av.open(str(path), "w", format=container, options=options) as target:
            stream = target.add_stream(codec, rate=25, options={**usual, **(encoder or {})})
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, 90_000)
            grey = av.VideoFrame(side, side, "yuv420p")
            for plane in grey.planes:
                plane.update(bytes([128]) * plane.buffer_size)
            for number in range(frames):
                grey.pts, grey.time_base = tick_of(number), Fraction(1, 90_000)
                target.mux(stream.encode(grey))
            target.mux(stream.encode(None))
        return path.read_bytes()


def _go_on() -> None:
    pass


def element(name: str, content: bytes) -> bytes:
    """Of EBML (RFC 8794). name: its id, in hex."""
    return bytes.fromhex(name) + b"\x01" + len(content).to_bytes(7, "big") + content


def matroska(
    codec: str,
    size: tuple[int, int] | None,
    packets: list[bytes],
    *,
    tracks: int = 1,
    attachments: int = 0,
    milliseconds: int = 40,
) -> bytes:
    """A film, or without a size a sound, whose packets are said to be packed by zlib (RFC 9559, ContentCompression)."""
    packed = element("6d80", element("6240", element("5033", b"\0") + element("5034", element("4254", b"\0"))))
    if size:
        facts = element("83", b"\1") + element("e0", element("b0", _two(size[0])) + element("ba", _two(size[1])))
    else:
        sound = element("b5", struct.pack(">d", 48_000)) + element("9f", b"\2") + element("6264", b"\x10")
        facts = element("83", b"\2") + element("e1", sound)
    entries = b"".join(
        element(
            "ae", element("d7", _two(at)) + element("73c5", _two(at)) + element("86", codec.encode()) + facts + packed
        )
        for at in range(1, tracks + 1)
    )
    blocks = b"".join(
        element("a3", b"\x81" + struct.pack(">h", milliseconds * at) + b"\x80" + p) for at, p in enumerate(packets)
    )
    info = element(
        "1549a966", element("2ad7b1", (10**6).to_bytes(3, "big")) + element("4d80", b"x") + element("5741", b"x")
    )
    file = element(
        "61a7",
        element("466e", b"a.mkv")
        + element("4660", b"application/zip")
        + element("465c", b"PK\3\4")
        + element("46ae", b"\1"),
    )
    inner = info + element("1654ae6b", entries) + (element("1941a469", file * attachments) if attachments else b"")
    head = element("1a45dfa3", element("4282", b"matroska") + element("4287", b"\4") + element("4285", b"\2"))
    return head + element("18538067", inner + element("1f43b675", element("e7", b"\0") + blocks))


def box(name: bytes, content: bytes) -> bytes:
    """Of ISO/IEC 14496-12."""
    return struct.pack(">I", 8 + len(content)) + name + content


def _small_film() -> bytes:
    return film("mp4", "libx264", frames=10)


def _two(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _with_durations(content: bytes, ticks: int) -> bytes:
    """An mp4 whose movie, track and media claim so many ticks."""
    changed = bytearray(content)
    for name, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = changed.find(name)
        while at >= 0:
            changed[at + offset : at + offset + 4] = struct.pack(">I", ticks)
            at = changed.find(name, at + 4)
    return bytes(changed)


def _with_sample_count(content: bytes, count: int) -> bytes:
    """An mp4 that claims to have so many frames, all of one byte and a day long together: an index of gigabytes."""
    changed = bytearray(content)
    sizes, times, chunks = changed.index(b"stsz"), changed.index(b"stts"), changed.index(b"stsc")
    changed[sizes + 8 : sizes + 16] = struct.pack(">II", 1, count)
    changed[times + 12 : times + 16] = struct.pack(">I", count)
    changed[chunks + 16 : chunks + 20] = struct.pack(">I", count)
    return bytes(changed)


def silent_flac(*, seconds: int) -> bytes:
    """The most that a voice may have: eight channels at 192 kHz, 1.5 million samples a second in 1.6 kB."""
    channels, rate = 8, 192_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silence"
        with av.open(str(path), "w", format="flac") as target:
            stream = target.add_stream("flac", rate=rate, layout="7.1", options={"compression_level": "0"})
            target.start_encoding()
            size = stream.codec_context.frame_size
            block = av.AudioFrame.from_ndarray(np.zeros((1, channels * size), np.int16), format="s16", layout="7.1")
            block.sample_rate = rate
            for number in range(seconds * rate // size):
                block.pts = number * size
                target.mux(stream.encode(block))
            target.mux(stream.encode(None))
        return path.read_bytes()


def _compressed_movie(*, levels: int, num_bytes: int) -> bytes:
    """QuickTime's compressed movie header in another, and in the innermost nothing but zeros."""
    content = bytes(num_bytes // levels)
    for _ in range(levels):
        packed = struct.pack(">I", len(content)) + zlib.compress(content, 1)
        content = box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", packed)))
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + content


def _zip_in_zip(content: bytes) -> bytes:
    for level in range(5):
        content = zip_of(f"{level}.zip", content)
    return content


def _text_bombs(number: int) -> Iterator[bytes]:
    text = zlib.compress(bytes(1_000_000), 9)
    return (png_chunk(b"zTXt", b"a%d\0\0" % at + text) for at in itertools.islice(itertools.count(), number))
