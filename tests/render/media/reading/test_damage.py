"""One rule for all containers: up to a second or 2 % missing is a warning, more is an error."""

import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from av.packet import Packet

from accounts.errors import ServiceError
from render.media.reading.damage import MAX_FAILED_PACKETS, Damage
from render.media.reading.header_lengths import chunks
from render.media.reading.missing_end import _seconds_of_tag
from render.media.video.source_video import check_video, normalise_video
from tests.render.hostile_media import matroska
from tests.render.media.audio.sounds import loudness, made_of
from tests.render.media_makers import wav_of

SECONDS = 6.0
WARNED = 0.12  # seconds: 2 % of them
SOUNDS = {
    "a.wav": "pcm_s16le",
    "a.w64": "pcm_s16le",
    "a.aiff": "pcm_s16be",
    "a.caf": "pcm_s16be",
    "a.flac": "flac",
    "a.mp3": "libmp3lame",
    "a.m4a": "aac",
    "a.webm": "libopus",
    "a.mkv": "aac",
    "a.flv": "aac",
    "a.avi": "libmp3lame",
    "a.wma": "wmav2",
}


@pytest.fixture
def sound(write_sound, remux) -> Callable[[str], Path]:
    """A tone of six seconds; an mp4 has its index in front."""

    def sound(name: str, codec: str = "") -> Path:
        path: Path = write_sound(name, codec or SOUNDS[name], 48_000, seconds=SECONDS)
        return remux("fast.m4a", path, options={"movflags": "+faststart"}) if name == "a.m4a" else path

    return sound


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])
    return path


def refusal(source: Path) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        made_of(source)
    return caught.value


@pytest.mark.parametrize("name", SOUNDS)
def test_a_whole_sound_has_no_damage(name: str, sound: Callable[..., Path]) -> None:
    made = made_of(sound(name))

    assert (made.seconds, made.lost_seconds) == (pytest.approx(SECONDS, abs=0.1), 0)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_that_was_cut_off_says_how_much_could_be_read(name: str, sound: Callable[..., Path]) -> None:
    error = refusal(cut(sound(name), 0.7))

    assert error.code == "audio_invalid"
    words = error.detail.split()
    read, of = float(words[words.index("cut") + 2]), float(words[words.index("of") + 1])
    assert (read, of) == (pytest.approx(0.7 * SECONDS, abs=0.25), pytest.approx(SECONDS, abs=0.15))


@pytest.mark.parametrize(
    "name", [name for name in SOUNDS if name not in ("a.webm", "a.avi", "a.wma")]
)  # their ends are an index
def test_a_little_that_was_cut_off_is_told(name: str, sound: Callable[..., Path]) -> None:
    made = made_of(cut(sound(name), 0.992))

    assert 0 < made.lost_seconds <= WARNED + 0.005
    assert made.seconds + made.lost_seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("name", ["a.mp3", "a.aac", "a.m4a", "a.flac", "a.mkv"])
@pytest.mark.parametrize("damage", ["ones", "zeros", "noise"])
def test_a_damaged_packet_keeps_its_time(name: str, damage: str, sound: Callable[..., Path]) -> None:
    path = sound(name, {"a.aac": "aac"}.get(name, ""))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(audio=0) if packet.size][60]
        header = 9 if name in ("a.mp3", "a.aac", "a.flac") else 0
        start, size = content.index(bytes(packet)[header : header + 40]), min(packet.size - header, 150)
    content[start : start + size] = {"ones": b"\xff", "zeros": b"\0", "noise": b""}[damage] * size or random.Random(
        5
    ).randbytes(size)
    path.write_bytes(content)

    made = made_of(path)

    assert made.lost_seconds <= WARNED
    assert made.seconds == pytest.approx(SECONDS, abs=0.1)
    assert loudness(made.mono[-32_000:-8000]) == pytest.approx(0.5 / 2**0.5, rel=0.1)


@pytest.mark.parametrize("name", ["a.mp3", "a.aac"])
@pytest.mark.parametrize("number", [60, 61, 62])
def test_a_broken_header_in_the_middle_costs_a_frame_or_two(name: str, number: int, sound: Callable[..., Path]) -> None:
    path = sound(name, {"a.mp3": "libmp3lame", "a.aac": "aac"}[name])
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        start = [packet.pos for packet in container.demux(audio=0) if packet.size][number]
    content[start : start + 7] = bytes(7)
    path.write_bytes(content)

    made = made_of(path)

    assert 0 < made.lost_seconds <= 0.06
    assert made.seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("damage", ["overwritten", "taken out", "checksum"])
def test_a_broken_page_of_ogg_is_no_pause(damage: str, write_sound, remux) -> None:
    """A page of a tenth of a second: 2 % of the sound and a little less."""
    whole = write_sound("whole.ogg", "libopus", 48_000, seconds=SECONDS)
    path = remux("a.ogg", whole, options={"page_duration": "100000"})
    content = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(b"OggS", content)]
    start, stop = starts[20:22]
    if damage == "taken out":
        del content[start:stop]
    elif damage == "overwritten":
        content[start + 100 : start + 300] = bytes(200)
    else:
        content[start + 22] ^= 1
    path.write_bytes(content)

    made = made_of(path)

    assert made.lost_seconds == pytest.approx(0.1, abs=0.01)
    assert made.seconds == pytest.approx(SECONDS, abs=0.02)
    assert loudness(made.mono[round(1.6 * 16_000) : round(2.1 * 16_000)]) < 0.45


@pytest.mark.parametrize("claim", [0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x80000000], ids=hex)
def test_a_wav_that_was_streamed_is_whole(claim: int, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(data=bytes(32_000), claim=claim))

    made = made_of(tmp_path / "a.wav")

    assert (made.seconds, made.lost_seconds) == (1, 0)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.webm", "libopus", {"live": "1"}),
        ("a.mkv", "aac", {"live": "1"}),
        ("a.mp3", "libmp3lame", {"write_xing": "0"}),
        ("a.mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.ogg", "libopus", {}),
        ("a.aac", "aac", {}),
        ("a.ts", "aac", {}),
    ],
)
def test_what_has_no_length_may_end_anywhere(
    name: str, codec: str, options: dict[str, str], write_sound, tmp_path
) -> None:
    whole = write_sound(name, codec, 48_000, seconds=3)
    path = tmp_path / f"streamed-{name}"
    with av.open(str(whole)) as old, av.open(str(path), "w", options=options) as new:
        copy = new.add_stream_from_template(old.streams[0])
        for packet in old.demux(old.streams[0]):
            if packet.size and (packet.pts * packet.time_base < 2 or name != "a.mp4"):
                packet.stream = copy
                new.mux(packet)
    if name != "a.mp4":  # of fragments only whole ones are there
        cut(path, 0.67)

    made = made_of(path)

    assert (made.seconds, made.lost_seconds) == (pytest.approx(2, abs=0.3), 0)


FILMS = ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.flv"]


def film(name: str, write_film: Callable[..., Path]) -> Path:
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    options = {"movflags": "+faststart"} if name == "a.mp4" else {}
    extra = {"g": "10", "b": "2000000", **({"bf": "0"} if codec == "libx264" else {})}
    return write_film(name, codec, num_frames=150, options=options, codec_options=extra)


@pytest.mark.parametrize("name", FILMS)
def test_a_film_follows_the_same_rule(name: str, write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = film(name, write_film)
    check_video(source, param="image_url")
    assert normalise_video(source, tmp_path / "v.mp4", max_seconds=10, param="image_url").lost_seconds == 0
    cut(source, 0.6)

    for step in (
        lambda: check_video(source, param="image_url"),
        lambda: normalise_video(source, tmp_path / "v.mp4", max_seconds=10, param="image_url"),
    ):
        with pytest.raises(ServiceError, match=r"s of [56]\.\d\d s can be read") as caught:
            step()
        assert (caught.value.code, caught.value.param) == ("video_invalid", "image_url")


def test_of_a_film_only_the_part_that_is_needed_must_be_there(write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = cut(film("a.mp4", write_film), 0.8)

    video = normalise_video(source, tmp_path / "v.mp4", max_seconds=2, param="image_url")

    assert (video.num_frames, video.lost_seconds) == (50, 0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_frame_that_cannot_be_decoded_is_told(name: str, write_film: Callable[..., Path], tmp_path: Path) -> None:
    source = film(name, write_film)
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][75]
    start = content.index(bytes(packet))
    content[start + 4 : start + packet.size] = b"\xff" * (packet.size - 4)
    source.write_bytes(content)

    video = normalise_video(source, tmp_path / "v.mp4", max_seconds=10, param="image_url")

    assert video.num_frames == 150
    assert video.lost_seconds == pytest.approx(0.04, abs=0.001)


def of_packets(*good: bool, seconds: float = 0.02) -> Damage:
    damage = Damage(ServiceError("audio_invalid", "nothing", param="audio_url"))
    damage.begin("matroska,webm", 0.001, seconds, lambda position, following: False)
    for number, is_good in enumerate(good):
        packet = Packet(100)
        packet.pts = packet.dts = round(number * seconds * 1000)
        damage.passes(packet)
        if is_good:
            damage.decoded()
            damage.read_seconds += seconds
        else:
            damage.fails(packet)
    return damage


@pytest.mark.parametrize(
    ("good", "bad", "lost"),
    [(99, 1, 0.02), (98, 2, 0.04), (97, 3, None), (5000, 50, 1.0), (5000, 51, None), (0, 1, None), (0, 0, None)],
)
def test_a_second_or_two_percent_may_be_missing(good: int, bad: int, lost: float | None) -> None:
    damage = of_packets(*[True] * good, *[False] * bad)

    if lost is None:
        with pytest.raises(ServiceError):
            damage.settle()
    else:
        assert damage.settle() == pytest.approx(lost)


def test_a_file_of_damaged_packets_is_given_up_soon() -> None:
    with pytest.raises(ServiceError, match="2.00 s of 22.00 s"):
        of_packets(*[True] * 100, *[False] * (MAX_FAILED_PACKETS + 1))


def test_a_million_damaged_packets_cost_no_more_than_a_thousand(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.mkv").write_bytes(matroska("A_AC3", None, [zlib.compress(b"\xff" * 20)] * 3000, milliseconds=5))
    tried = []
    original = Damage.passes
    monkeypatch.setattr(Damage, "passes", lambda self, packet: tried.append(1) or original(self, packet))

    assert refusal(tmp_path / "a.mkv").code == "audio_invalid"
    assert len(tried) <= MAX_FAILED_PACKETS


def test_a_track_that_only_damage_makes_is_no_bug(sound) -> None:
    path = sound("a.flv")
    content = bytearray(path.read_bytes())
    tags = [tag.start() for tag in re.finditer(rb"\x08.{7}\0\0\0\xaf\x01", bytes(content), re.DOTALL)]
    content[tags[-20]] = 9  # a tag of sound becomes one of a picture
    path.write_bytes(content)

    assert made_of(path).lost_seconds < WARNED
    with pytest.raises(ServiceError):
        check_video(path, param="image_url")


def test_lengths_that_no_number_can_hold_are_no_bug(sound, tmp_path: Path) -> None:
    webm = sound("a.webm")
    content = webm.read_bytes()
    stamp = re.search(rb"00:00:06[.]\d{9}", content)
    assert stamp
    webm.write_bytes(content.replace(stamp[0], b"9" * 12 + b":00:00"))
    assert made_of(webm).seconds == pytest.approx(SECONDS, abs=0.1)
    assert _seconds_of_tag("9" * 400 + ":00:00") == 0

    wave64 = sound("a.w64")
    content = wave64.read_bytes()
    chunk = b"junk" + content[44:56] + (2**63 - 8).to_bytes(8, "little")
    wave64.write_bytes(content + chunk)
    assert made_of(wave64).seconds == pytest.approx(SECONDS, abs=0.1)
    with (tmp_path / "chunks").open("w+b") as file:
        file.write(b"fmt " + bytes(12) + (2**64 - 8).to_bytes(8, "little"))
        file.seek(0)
        assert len(list(chunks(file, is_wave64=True))) == 1


@pytest.fixture
def in_pieces(sound, remux) -> Callable[[], tuple[Path, list[int]]]:
    """An mp4 in pieces of half a second, and where each begins."""

    def in_pieces() -> tuple[Path, list[int]]:
        options = {"movflags": "empty_moov+default_base_moof", "frag_duration": "500000"}
        path = remux("pieces.m4a", sound("a.m4a"), options=options)
        return path, [found.start() - 4 for found in re.finditer(rb"moof....mfhd", path.read_bytes(), re.DOTALL)]

    return in_pieces


def test_an_mp4_in_pieces_is_whole(in_pieces) -> None:
    path, starts = in_pieces()
    assert len(starts) >= 10
    made = made_of(path)
    assert (made.seconds, made.lost_seconds) == (pytest.approx(SECONDS, abs=0.1), 0)

    path.write_bytes(path.read_bytes() + b"<html>" * 1000)  # behind the end
    made = made_of(path)
    assert (made.seconds, made.lost_seconds) == (pytest.approx(SECONDS, abs=0.1), 0)


@pytest.mark.parametrize(("name", "size"), [(b"xoof", 4), (bytes(4), 4), (bytes(8), 8), (b"", 0)])
@pytest.mark.parametrize("number", [4, -1])
def test_a_broken_piece_of_an_mp4_is_missed(name: bytes, size: int, number: int, in_pieces) -> None:
    path, starts = in_pieces()
    content = bytearray(path.read_bytes())
    at = starts[number] + (0 if size == 8 else 4)
    if size:
        content[at : at + size] = name
    else:
        del content[at + 20 : at + 30]  # the rest is moved
    path.write_bytes(content)

    assert refusal(path).detail.startswith("The file is damaged or was cut off: ")


def zeroed(path: Path, first: float, last: float) -> Path:
    content = bytearray(path.read_bytes())
    start, stop = (round(share * len(content)) for share in (first, last))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("first", [0.3, 0.4])
@pytest.mark.parametrize(("name", "codec"), [("a.wma", ""), ("flac.oga", "flac")])
def test_packets_that_became_zeros_are_missed(name: str, codec: str, first: float, write_sound, sound) -> None:
    path = write_sound(name, codec, 16_000, seconds=SECONDS) if codec else sound(name)
    assert made_of(path).lost_seconds == 0

    assert "is damaged" in refusal(zeroed(path, first, first + 0.2)).detail


@pytest.mark.parametrize("name", ["a.wma", "a.avi"])
def test_an_end_that_became_zeros_is_missed(name: str, sound) -> None:
    assert "is damaged" in refusal(zeroed(sound(name), 0.6, 1)).detail


def test_the_last_packet_of_a_slow_flv_lasts_as_long_as_the_others(write_film, write_sound) -> None:
    check_video(write_film("slow.flv", "flv", rate=1, num_frames=5), param="image_url")

    assert made_of(write_sound("slow.flv", "adpcm_swf", 11_025, seconds=5)).lost_seconds == 0
