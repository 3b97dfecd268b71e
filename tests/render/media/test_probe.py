from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from accounts.errors import ServiceError
from render.media.probe import AudioFacts, ImageFacts, VideoFacts, probe
from tests.render.media_makers import film

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_it_knows_pictures_whatever_their_name(image_format: str, tmp_path: Path) -> None:
    path = tmp_path / "voice.mp3"
    Image.new("RGB", (80, 70)).save(path, image_format)

    assert probe(path, param="image_url") == ImageFacts(image_format, 80, 70)


@pytest.mark.parametrize("name", ["moving.webp", "moving.gif"])
def test_it_counts_an_animated_picture_as_a_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    frames = [Image.new("RGB", (80, 70), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])

    assert isinstance(probe(path, param="image_url"), ImageFacts)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.ts", "libx264")],
)
def test_it_knows_films(name: str, codec: str, write_film: Callable[..., Path]) -> None:
    facts = probe(write_film(name, codec), param="image_url")

    assert isinstance(facts, VideoFacts)
    assert (facts.width, facts.height, facts.frames_per_second, facts.has_sound) == (160, 96, 25.0, False)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "libx264")])
def test_it_knows_a_film_that_broke_off(name: str, codec: str, write_film: Callable[..., Path]) -> None:
    path = write_film(name, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(ServiceError) as caught:
        probe(path, param="image_url")

    assert caught.value.code == "video_invalid"


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.wav", "pcm_s16le", 8000), ("a.mp3", "libmp3lame", 44100), ("a.m4a", "aac", 48000), ("a.flac", "flac", 16000)],
)
def test_it_knows_sounds(name: str, codec: str, rate: int, write_sound: Callable[..., Path]) -> None:
    facts = probe(write_sound(name, codec, rate), param="audio_url")

    assert isinstance(facts, AudioFacts)
    assert (facts.sample_rate, facts.channels) == (rate, 1)
    assert facts.duration_seconds == pytest.approx(2, abs=0.1)


def test_it_takes_a_sound_with_a_cover_picture_for_a_sound(
    write_sound: Callable[..., Path], remux: Callable[..., Path], tmp_path: Path
) -> None:
    Image.new("RGB", (80, 80), "red").save(tmp_path / "cover.jpg")

    path = remux("covered.mp4", write_sound("a.m4a", "aac", 48000), cover=tmp_path / "cover.jpg")

    assert isinstance(probe(path, param="audio_url"), AudioFacts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><html><body>Please sign in</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80"/>',
        b"%PDF-1.7\n%%EOF\n",
        HLS.encode(),
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n",
        bytes(range(256)) * 100,
    ],
    ids=["empty", "html", "svg", "pdf", "hls", "concat", "sdp", "noise"],
)
def test_it_knows_nothing_else(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)

    assert probe(path, param="image_url") is None


@pytest.mark.parametrize(
    "brand", [*(b"isom", b"mp42", b"qt  ", b"3g2a", b"3gp6", b"f4v ", b"MSNV", b"XAVC", b"dash"), b"none"]
)
def test_a_film_that_was_cut_off_is_called_so_whatever_its_brand(brand: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film"
    start = b"\0\0\0\x14ftyp" + brand + bytes(8) if brand != b"none" else b""
    path.write_bytes(start + b"\0\0\x10\0mdat" + bytes(3000))

    with pytest.raises(ServiceError, match="damaged or was cut off. Send it again, or send the original") as caught:
        probe(path, param="image_url")

    assert caught.value.code == "video_invalid"


@pytest.mark.parametrize("container", ["mov", "avi"])
def test_a_film_of_an_unknown_codec_is_not_called_damaged(container: str, tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(film(container, "png", pixels="rgb24"))

    with pytest.raises(ServiceError, match="The video is encoded as png, a codec that cannot be read") as caught:
        probe(path, param="image_url")

    assert caught.value.code == "video_invalid"


def test_it_stops_at_a_picture_that_would_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 10_000)).save(path)

    with pytest.raises(ServiceError) as caught:
        probe(path, param="image_url")

    assert (caught.value.code, caught.value.param) == ("image_too_large", "image_url")
