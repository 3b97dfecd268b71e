"""What strangers send, in one table: each ends in its code, no worker dies, and memory stays bounded.

All cases go through one process, one after the other, as they would through a worker of the queue.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.hostile_addresses import FORBIDDEN_URLS, INSIDE_URLS
from tests.render import hostile_files
from tests.render.pipeline import hostile_server

ALLOWED_GROWTH = 600 * 2**20  # bytes, over the worker's size after the first, harmless case
ACCEPTED = "accepted"

# What comes as the portrait: code -> paths and addresses
PORTRAITS = {
    ACCEPTED: """
        good.png good.jpg good.webp still.gif moving.gif gifar.gif picture.bmp picture.tiff
        good.mp4 good.webm image.avif cmyk.jpg moving.png moving.webp
        bad-huffman.jpg bad-exif.jpg png-zip.png jpeg-php.jpg html-jpeg.jpg
        odd.avi ffv1.mkv huffyuv.avi mpeg4.avi prores.mov vp8.ogv hevc.mp4 flv.flv mpeg2.mpg ten-bit.mp4 rgb.mkv
        grey.mkv odd-size.mkv one-frame.mp4 one-a-second.mp4 thousand.mp4 with-sound.mp4 noisy.mp4
        /behave/early-hints
    """,
    "image_invalid": """
        page.html page.png drawing.svg script.svg entities.xml
        picture.ico picture.ppm picture.jp2 picture.tga picture.eps document.pdf pdf-jpeg.pdf shell.ps photo.heic
        layers.psd empty one noise zeros json program windows.exe shell.sh archive.zip bomb.zip picture.png.gz link.tar
        claims-nothing.png claims-nothing.jpg cut.png cut.jpg cut.webp head.png head.jpg no-pixels.png bad-zlib.png
        few-pixels.png bad-crc.png text-bomb.png profile-bomb.png long-comment.png
        remote.m3u8 local.m3u8 concat.txt session.sdp manifest.mpd list.m3u list.pls list.asx subtitles.srt
        raw.nut pictures.mxf no-picture.mp4 good.wav good.mp3 good.flac
    """,
    "image_too_large": "bomb.png wide-bomb.png claims-billions.png claims-most.png claims-much.jpg large.avi",
    "image_too_small": "tiny.png strip.png column.png thumb.mp4 wide.mkv",
    "video_invalid": "cut.mp4 cut.webm no-index.mp4 head.mp4 head.webm avi.m3u8",
    "download_failed": """
        none /behave/no-content /behave/reset /behave/reset-body /behave/too-little /behave/bad-chunks
        /behave/gzip /behave/brotli /behave/deflate-twice /behave/not-modified /behave/error /behave/forbidden
        /behave/gone /behave/long-head /behave/many-heads /behave/no-http /behave/old-http /behave/bad-status
        /behave/two-lengths /behave/bad-length /behave/negative-length /redirect/loop /redirect/to-missing
        /redirect/to-nowhere http://media.example:1/
    """,
    # A name that leads nowhere must look like one that leads inside.
    "url_not_allowed": "http://unknown.example/ http://%31%32%37.0.0.1/ http://[fe80::1%25lo]/",
    "download_timeout": "/behave/drip /behave/drip-head /behave/silent /behave/silent-body",
    "media_too_large": "/behave/announced /behave/unannounced /behave/endless /behave/endless-chunks",
    "redirect_not_allowed": " ".join(
        f"/redirect/{name}" for name in hostile_server.REDIRECTS if name not in ("loop", "to-missing", "to-nowhere")
    ),
}
# What comes as the voice
VOICES = {
    ACCEPTED: """
        sun.au good.wav good.mp3 good.flac good.m4a good.ogg good.aac good.aiff good.caf good.wma with-sound.mp4
        claims-4gb.wav streamed.wav odd-bits.wav nan.wav infinite.wav mulaw.wav cut.ogg noisy.flac
    """,
    "audio_invalid": """
        silent.mp4 head.wav no-data.wav no-channels.wav many-channels.wav most-channels.wav one-hertz.wav no-rate.wav
        gigahertz.wav no-bits.wav unknown-tag.wav adpcm-noise.wav noise.mp3 tag-bomb.mp3 cut.flac cut.m4a head.m4a
        cut.mp3 noise.ogg raw.pcm song.mid tracker.xm page.html good.png empty noise remote.m3u8 concat.txt moving.gif
        entities.xml bomb.png
    """,
    "audio_empty": "empty.wav",
    "audio_too_short": "short.wav",
    "audio_too_long": "long.wav hours.flac",
    "download_failed": "none /behave/reset-body",
    "download_timeout": "/behave/drip",
    "media_too_large": "/behave/endless",
    "url_not_allowed": "http://10.0.0.1/ file:///etc/passwd",
    "redirect_not_allowed": "/redirect/to-metadata",
}
TABLE = [
    (param, where if "/" in where else f"/files/{where}", code)
    for param, codes in (("image_url", PORTRAITS), ("audio_url", VOICES))
    for code, cases in codes.items()
    for where in cases.split()
] + [("image_url", url, "url_not_allowed") for url in INSIDE_URLS + FORBIDDEN_URLS if url]


class Worker:
    def __init__(self, exit_status: int, outcomes: list[dict], complaints: str) -> None:
        self.exit_status, self.outcomes, self.complaints = exit_status, outcomes, complaints


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with hostile_server.running(hostile_files.build()) as base_url:
        cases = [["image_url", "/files/good.png"], *[[param, where] for param, where, _ in TABLE]]
        done = subprocess.run(
            [sys.executable, "-m", "tests.render.pipeline.hostile_worker"],
            input=json.dumps({"base_url": base_url, "cases": cases}),
            capture_output=True,
            text=True,
            timeout=500,
        )
    yield Worker(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len(TABLE) >= 250
    assert len({(param, where) for param, where, _ in TABLE}) == len(TABLE)
    behaviours = {where.removeprefix("/behave/") for _, where, _ in TABLE if where.startswith("/behave/")}
    assert behaviours == set(hostile_server.BEHAVIOURS)


def test_no_worker_dies(worker: Worker) -> None:
    assert worker.exit_status == 0, worker.complaints[-2000:]
    assert len(worker.outcomes) == len(TABLE) + 1


def test_memory_stays_bounded(worker: Worker) -> None:
    sizes = [outcome["most_bytes"] for outcome in worker.outcomes]

    assert sizes[-1] - sizes[0] < ALLOWED_GROWTH


def test_each_ends_in_its_code(worker: Worker) -> None:
    differing = {
        where: (code, outcome)
        for (param, where, code), outcome in zip(TABLE, worker.outcomes[1:], strict=True)
        if (outcome["code"], outcome["param"]) != (code, param)
    }

    assert differing == {}


@pytest.mark.parametrize("secret", ["secret", "passwd", "Traceback", "/tmp"])
def test_no_answer_tells_what_is_inside(worker: Worker, secret: str) -> None:
    assert [outcome for outcome in worker.outcomes if secret in outcome["detail"]] == []
