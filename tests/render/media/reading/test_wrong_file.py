"""Files that are not what was wanted: each is called what it is, and the customer is told what is wanted."""

import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.errors import ServiceError
from render.media.isolation import jobs
from render.media.reading.file_types import FileKind, recognise
from tests.render.media_makers import film, picture, voice, wav, zip_of

PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
HEAD = bytes(range(1, 100))
NOTHING = {
    "a web page (HTML)": [
        PAGE,
        b"\xef\xbb\xbf\r\n <html lang=en>",
        b"<!-- saved from a site -->\n<!doctype HTML>",
        PAGE.decode().encode("utf-16"),
        b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">',
        b"<script>location='/login'</script>",
        b"Warning: could not open the file in line 3\n<html><body>",
        b"<!-- a -->\n" * 40 + b"<p>",  # An expression that tries all ways to end so many would never be done.
    ],
    "an empty file (0 bytes)": [b""],
    "a file of zeros": [bytes(5000)],
    "a drawing (SVG)": [
        b"<svg/>",
        b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">\n<svg>',
    ],
    "error message of a storage": [b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', b"<Error><Code>"],
    "a playlist": [b"#EXTM3U\n", b"[playlist]\n", b"<?xml version='1.0'?><MPD>", b"ffconcat version 1.0\n"],
    "a text (JSON)": [b'{"error": "not found"}', b"[]", b'[{"a": 1}]', b"{}"],
    "a text (XML)": [b"<?xml version='1.0'?><feed>"],
    "a file written as text (Base64)": [base64.b64encode(picture("PNG")), b"data:image/png;base64,iVBORw0KGgo="],
    "a pointer of Git LFS": [b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"],
    "an address": [b"https://example.com/me.png\n"],
    "a text": ["Ceci n'est pas une image: à bientôt".encode(), b"no such file\n"],
    "a PDF document": [b"%PDF-1.7\n"],
    "a ZIP archive": [zip_of("a.png", b"x")],
    "a document (Word, Excel or PowerPoint)": [
        zip_of("[Content_Types].xml", b"x"),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    ],
    "a compressed file": [gzip.compress(picture("PNG"))],
    "the hidden file of a Mac": [b"\0\x05\x16\x07\0\x02\0\0Mac OS X" + HEAD],
    "a program": [b"MZ\x90" + HEAD, b"\x7fELF" + HEAD],
}
PICTURES = {
    "JPEG XL": b"\xff\x0a" + HEAD,
    "JPEG 2000": picture("JPEG2000"),
    "Photoshop": b"8BPS\0\1" + HEAD,
    "ICO": picture("ICO", (64, 64)),
    "raw photo from a camera": b"\0\0\0\x18ftypcrx \0\0\0\1" + HEAD,
    "EPS": picture("EPS"),
    "PNM": picture("PPM"),
}
SOUNDS = {
    "MIDI": b"MThd\0\0\0\6\0\0\0\1\0`MTrk" + HEAD,
    "Monkey's Audio": b"MAC \x96\x0f" + HEAD,
    "WavPack": voice("wv", "wavpack"),
    "Musepack": b"MPCKSH" + HEAD,
    "DSD": b"DSD \x1c\0\0\0" + HEAD,
    "DTS": b"\x7f\xfe\x80\x01" + HEAD,
    "tracker": b"Extended Module: " + HEAD,
}


def refusal(job: Callable[..., object], content: bytes, folder: Path, **arguments: object) -> ServiceError:
    (folder / "source").write_bytes(content)
    with pytest.raises(ServiceError) as caught:
        job(folder / "source", param="x", **arguments)
    assert caught.value.param == "x"
    return caught.value


@pytest.fixture
def as_picture(tmp_path: Path) -> Callable[[bytes], ServiceError]:
    return lambda content: refusal(jobs.normalise_portrait, content, tmp_path, destination_png=tmp_path / "p.png")


@pytest.fixture
def as_voice(tmp_path: Path) -> Callable[[bytes], ServiceError]:
    arguments = {"destination_wav": tmp_path / "v.wav", "max_seconds": 60}
    return lambda content: refusal(jobs.normalise_voice, content, tmp_path, **arguments)


@pytest.fixture
def as_upload(tmp_path: Path) -> Callable[[bytes], ServiceError]:
    return lambda content: refusal(jobs.refuse, content, tmp_path)


@pytest.mark.parametrize(("words", "content"), [(words, one) for words, all_ in NOTHING.items() for one in all_])
def test_what_is_no_media_at_all_is_named(words: str, content: bytes, as_picture, as_voice, as_upload) -> None:
    for given, code, wanted in [
        (as_picture, "image_invalid", "Send an image (JPEG, PNG"),
        (as_voice, "audio_invalid", "Send audio (WAV, MP3"),
        (as_upload, "media_invalid", "Send an image (JPEG, PNG"),
    ]:
        error = given(content)
        assert error.code == code
        assert words in error.detail and wanted in error.detail, error.detail


@pytest.mark.parametrize(("name", "content"), PICTURES.items(), ids=PICTURES)
def test_a_picture_of_another_format_is_named(name: str, content: bytes, as_picture, as_voice, as_upload) -> None:
    for given in (as_picture, as_upload):
        assert f"{name}" in given(content).detail and "cannot be read. Send" in given(content).detail
    assert f"{name}" in as_voice(content).detail and ", not audio." in as_voice(content).detail


@pytest.mark.parametrize(("name", "content"), SOUNDS.items(), ids=SOUNDS)
def test_a_sound_of_another_format_is_named(name: str, content: bytes, as_picture, as_voice, as_upload) -> None:
    for given in (as_voice, as_upload):
        assert name in given(content).detail and "cannot be read. Send" in given(content).detail
    assert name in as_picture(content).detail and ", not an image." in as_picture(content).detail


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_a_picture_is_not_taken_for_a_sound_nor_for_another_file_when_it_is_damaged(
    image_format: str, as_picture, as_voice
) -> None:
    content = picture(image_format)

    assert "This is an image (" in as_voice(content).detail
    cut = as_picture(content[: len(content) // 3])
    assert cut.detail.startswith("This image (")
    assert cut.detail.endswith(") is damaged or incomplete. Send it again, or send the original.")


@pytest.mark.parametrize(
    "content",
    [
        wav(),
        voice("mp3", "libmp3lame"),
        voice("flac", "flac"),
        voice("ipod", "aac"),
        voice("ogg", "libopus", rate=48_000),
        voice("ac3", "ac3", rate=48_000),
        voice("au", "pcm_s16be"),
        voice("matroska", "aac"),
    ],
    ids=["wav", "mp3", "flac", "m4a", "ogg", "ac3", "au", "mka"],
)
def test_a_sound_is_not_taken_for_a_picture(content: bytes, as_picture) -> None:
    detail = as_picture(content).detail

    assert detail.startswith("This is audio") and ", not an image. Send an image (" in detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (film("mp4", "libx264"), "a video without an audio track"),
        (voice("matroska", "tta"), "encoded as tta"),
        (voice("ipod", "aac")[:600], "This audio (M4A) is damaged or was cut off. Send it again"),
        (bytes(range(256)) * 20, "The format of the file is not known"),
    ],
    ids=["no sound", "another codec", "cut", "noise"],
)
def test_what_has_no_sound_to_be_read_says_why(content: bytes, words: str, as_voice) -> None:
    assert words in as_voice(content).detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (film("mov", "png", pixels="rgb24"), "encoded as png"),
        (film("nut", "rawvideo"), "a video (NUT), a format that cannot be read"),
    ],
    ids=["another codec", "another container"],
)
def test_a_film_that_cannot_be_read_says_why(content: bytes, words: str, as_picture) -> None:
    assert words in as_picture(content).detail


def test_a_voice_that_has_a_sound_track_keeps_its_own_words(as_voice) -> None:
    cut = voice("flac", "flac")

    assert "This audio" not in as_voice(cut[: len(cut) // 2]).detail


@pytest.mark.parametrize(
    "text", [b"<Error><Code>AccessDenied</Code><Key>secret-name</Key></Error>", b"<html>secret-name", b"secret-name"]
)
def test_nothing_of_a_file_s_own_text_is_told(text: bytes, as_picture) -> None:
    assert "secret-name" not in as_picture(text).detail


def test_what_is_known_is_called_by_a_name_that_follows_this_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in [*PICTURES.values(), *SOUNDS.values(), *(one for all_ in NOTHING.values() for one in all_)]:
        path.write_bytes(content)
        found = recognise(path)
        assert (
            found and found.words.startswith(("a ", "an ", "the ", "audio ")) and FileKind.READ_HERE not in found.kind
        )
    path.write_bytes(bytes(range(256)))
    assert recognise(path) is None
