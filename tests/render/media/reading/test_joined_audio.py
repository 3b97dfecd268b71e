"""Sounds that programs put together byte by byte, and what lies behind their end."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.errors import ServiceError
from render.media.containers import ogg_pages
from render.media.containers.joined_files import FileRanges, audio_parts
from render.media.isolation import calls as isolated
from tests.render.media.audio.sounds import loudness, made_of

JUNK = random.Random(7)


def id3v2(body: bytes) -> bytes:
    size = len(body)
    return b"ID3\x04\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + body


def ape(body: bytes) -> bytes:
    facts = (2000).to_bytes(4, "little") + (len(body) + 32).to_bytes(4, "little") + (1).to_bytes(4, "little")
    head, foot = ((1 << 31 | is_head << 29).to_bytes(4, "little") + bytes(8) for is_head in (1, 0))
    return b"APETAGEX" + facts + head + body + b"APETAGEX" + facts + foot


COVER = id3v2(b"APIC" + b"\xff\xd8\xff\xe0\xff\xfb\x90\x00" + JUNK.randbytes(60_000))
ID3V1 = b"TAG" + b"x" * 125
LYRICS = b"LYRICSBEGIN" + b"IND00002 10" + b"LYR00010[00:01]hel" + b"000040LYRICS200"
TAGS = {
    "nothing": b"",
    "id3v2": id3v2(b"TIT2" + bytes(500)),
    "a cover": COVER,
    "id3v1": ID3V1,
    "ape": ape(JUNK.randbytes(3000)),
    "lyrics": LYRICS + ID3V1,
    "all": LYRICS + ape(b"abc") + ID3V1 + COVER,
}
CODECS = {"mp3": "libmp3lame", "aac": "aac"}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("kind", CODECS)
def test_pieces_are_heard_one_after_the_other(kind: str, tag: str, write_sound: Callable[..., Path]) -> None:
    piece = write_sound(f"a.{kind}", CODECS[kind], 44_100, seconds=1)
    alone = made_of(piece)
    piece.write_bytes(piece.read_bytes() + (TAGS[tag] + piece.read_bytes()) * 2)

    made = made_of(piece)

    assert made.seconds == pytest.approx(3 * alone.seconds, abs=0.2)  # players do not leave out the padding either
    assert made.lost_seconds == 0
    for second in range(3):
        start = round((second + 0.4) * made.seconds / 3 * 16_000)
        assert loudness(made.mono[start : start + 4000]) == pytest.approx(0.5 / 2**0.5, rel=0.1)


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize(("rate", "layout"), [(22_050, "mono"), (44_100, "stereo"), (22_050, "stereo")])
def test_the_next_piece_may_have_another_rate_and_other_channels(
    kind: str, rate: int, layout: str, write_sound: Callable[..., Path]
) -> None:
    first = write_sound(f"a.{kind}", CODECS[kind], 44_100, seconds=1).read_bytes()
    second = write_sound(f"b.{kind}", CODECS[kind], rate, seconds=1, layout=layout)
    second.write_bytes(first + second.read_bytes())

    made = made_of(second)

    assert made.seconds == pytest.approx(2, abs=0.25)
    assert (made.rate, len(made.sound)) == (44_100, 1)
    assert made.sound.shape[1] / 44_100 == pytest.approx(made.seconds, abs=0.002)
    for start in (6000, 24_000):
        assert loudness(made.mono[start : start + 4000]) == pytest.approx(0.5 / 2**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("codecs", "layouts"),
    [
        (["libopus", "libopus"], ["mono", "mono"]),
        (["libopus", "libopus"], ["mono", "stereo"]),
        (["libopus", "flac", "libopus"], ["stereo", "mono", "mono"]),
    ],
)
def test_all_links_of_an_ogg_chain_are_heard(
    codecs: list[str], layouts: list[str], write_sound, tmp_path: Path
) -> None:
    links = [
        write_sound(f"{number}.ogg", codec, 48_000, seconds=1, layout=layout).read_bytes()
        for number, (codec, layout) in enumerate(zip(codecs, layouts, strict=True))
    ]
    (tmp_path / "chain.ogg").write_bytes(b"".join(links))

    made = made_of(tmp_path / "chain.ogg")

    assert made.seconds == pytest.approx(len(links), abs=0.02)
    assert made.lost_seconds == 0
    assert len(made.sound) == (1 if layouts[0] == "mono" else 2)


def amr(seed: int) -> bytes:
    """A second of noise: 50 frames of 12.2 kbit/s (RFC 4867, section 5)."""
    return b"#!AMR\n" + b"".join(b"\x3c" + random.Random(seed + frame).randbytes(31) for frame in range(50))


def test_joined_amr_is_heard_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.amr").write_bytes(amr(0) + amr(100) + amr(200))

    assert made_of(tmp_path / "a.amr").seconds == pytest.approx(3, abs=0.01)


def test_joined_flac_is_heard_to_its_end(write_sound: Callable[..., Path]) -> None:
    source = write_sound("a.flac", "flac", 16_000, seconds=1)
    source.write_bytes(source.read_bytes() * 2)

    made = made_of(source)

    assert (made.seconds, made.lost_seconds) == (pytest.approx(2, abs=0.01), 0)


ENDS = {
    "zeros": bytes(3000), "noise": JUNK.randbytes(3000), "text": b"Made by a program. " * 200, "id3v1": ID3V1,
    "lyrics": LYRICS + ID3V1, "ape": ape(b"x" * 500), "chunk": b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf59.27.100\0",
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.aac", "aac"), ("a.flac", "flac"), ("a.wav", "pcm_s16le"), ("a.ogg", "libopus")],
)
def test_what_lies_behind_the_end_is_left_out(name: str, codec: str, end: str, write_sound) -> None:
    source = write_sound(name, codec, 48_000, seconds=1)
    alone = made_of(source).seconds
    source.write_bytes(source.read_bytes() + ENDS[end])

    made = made_of(source)

    assert (made.seconds, made.lost_seconds) == (pytest.approx(alone, abs=0.03), 0)


@pytest.mark.parametrize("start", [b"", b"\xff\xfb\x90\x00", b"ID3\x04\0\0\0\0\0\0", b"\xff\xf1\x50\x80", b"#!AMR"])
@pytest.mark.parametrize(
    "content",
    [
        b"The quick brown fox jumps over the lazy dog. " * 2000,
        b"<html><body>Sign in</body></html>" * 500,
        b"TAG" * 20_000,
    ]
    + [random.Random(seed).randbytes(40_000) for seed in range(4)],
    ids=["text", "html", "tags", *"1234"],
)
def test_what_is_no_sound_stays_refused(content: bytes, start: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(start + content)

    with pytest.raises(ServiceError) as caught:
        made_of(tmp_path / "a.mp3")

    assert caught.value.code in ("audio_invalid", "audio_empty")


def test_a_view_of_stretches_reads_as_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    view = FileRanges(path, [(0, 10), (50, 60), (90, 95)])

    whole = bytes([*range(10), *range(50, 60), *range(90, 95)])
    assert view.read(7) + view.read(7) + view.read() + view.read(1) == whole
    assert (view.seek(-3, 2), view.read(9), view.tell()) == (22, whole[22:], 25)
    assert (view.seek(8), view.read(4), view.seek(1, 1), view.read(1)) == (8, whole[8:12], 13, whole[13:14])


@pytest.mark.parametrize("content", [b"TAG" * 2_000_000, b"ID3\x04" * 1_000_000, b"\xff\xf1" * 2_000_000])
def test_a_file_of_nothing_but_tags_is_not_looked_at_for_long(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"\xff\xfb\x90\x00" + content)

    assert len(audio_parts(tmp_path / "a.mp3")) == 1


def test_a_hundred_links_are_heard_with_the_few_descriptors_of_a_decoding_process(
    write_sound: Callable[..., Path], tmp_path: Path
) -> None:
    link = write_sound("a.ogg", "libopus", 48_000, seconds=0.1)
    link.write_bytes(link.read_bytes() * 100)

    voice = isolated.normalise_voice(
        link, tmp_path / "a.wav", max_seconds=60, param="audio_url", check=lambda: None, audio_flac=tmp_path / "a.flac"
    )

    assert voice.duration_seconds == pytest.approx(10, abs=0.5)


def test_a_part_that_is_no_sound_is_closed(write_sound: Callable[..., Path]) -> None:
    link = write_sound("a.ogg", "libopus", 48_000, seconds=0.2)
    content = link.read_bytes()
    page = bytearray(content[: content.index(b"OggS", 4)].replace(b"OpusHead", b"Unknown!"))
    page[22:26] = bytes(4)
    page[22:26] = ogg_pages._checksum(bytes(page))
    link.write_bytes(content + bytes(page) * 3)
    before = os.listdir("/proc/self/fd")

    made_of(link)

    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("is_wide", [False, True])
def test_a_pause_in_amr_is_no_damage(is_wide: bool, tmp_path: Path) -> None:
    head, speech, size = (b"#!AMR-WB\n", b"\x44", 60) if is_wide else (b"#!AMR\n", b"\x3c", 31)
    hum, nothing = (b"\x4c" if is_wide else b"\x44") + bytes(5), b"\x7c"
    frames = [speech + random.Random(number).randbytes(size) for number in range(50)]
    pause = [hum, *[nothing] * 7] * 12
    (tmp_path / "a.amr").write_bytes(head + b"".join([*frames, *pause, *frames]))

    made = made_of(tmp_path / "a.amr")

    assert (made.seconds, made.lost_seconds) == (pytest.approx(1 + 96 * 0.02 + 1, abs=0.02), 0)
    assert loudness(made.mono[20_000:44_000]) < 0.001 < loudness(made.mono[:12_000])


def test_what_a_phone_never_writes_is_no_pause_in_amr(tmp_path: Path) -> None:
    frames = [b"\x3c" + random.Random(number).randbytes(31) for number in range(50)]
    (tmp_path / "a.amr").write_bytes(b"#!AMR\n" + b"".join([*frames, b"\xff" * 60, *frames]))

    with pytest.raises(ServiceError):
        made_of(tmp_path / "a.amr")


@pytest.mark.parametrize("junk", [b"<html>" * 20_000, bytes(120_000), b"\xff" * 120_000, JUNK.randbytes(120_000)])
@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.aac", "aac"), ("a.ac3", "ac3")])
def test_junk_longer_than_the_sound_before_it_is_left_out(name: str, codec: str, junk: bytes, write_sound) -> None:
    sound = write_sound(name, codec, 44_100, seconds=1)
    sound.write_bytes(sound.read_bytes() + junk)

    made = made_of(sound)

    assert (made.seconds, made.lost_seconds) == (pytest.approx(1, abs=0.15), 0)


def test_where_most_is_damaged_the_customer_is_told(write_sound: Callable[..., Path]) -> None:
    sound = write_sound("a.mp3", "libmp3lame", 44_100, seconds=1)
    sound.write_bytes(sound.read_bytes() + JUNK.randbytes(100_000) + sound.read_bytes())

    with pytest.raises(ServiceError, match="More than half of the file is damaged"):
        made_of(sound)


@pytest.mark.parametrize(("first", "then"), [("mp3", "aac"), ("aac", "mp3")])
def test_mp3_and_aac_may_follow_one_another(first: str, then: str, write_sound: Callable[..., Path]) -> None:
    pieces = {kind: write_sound(f"a.{kind}", CODECS[kind], 44_100, seconds=1).read_bytes() for kind in CODECS}
    path = write_sound(f"a.{first}", CODECS[first], 44_100, seconds=1)
    path.write_bytes(pieces[first] + pieces[then] + pieces[first])

    made = made_of(path)

    assert made.seconds == pytest.approx(3, abs=0.25)
    assert made.lost_seconds < 0.03


@pytest.mark.parametrize("content", [TAGS["id3v2"], TAGS["id3v2"] + b"\xff", b"\xff\xfb"])
def test_a_tag_without_a_sound_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(content)

    with pytest.raises(ServiceError):
        made_of(tmp_path / "a.mp3")
