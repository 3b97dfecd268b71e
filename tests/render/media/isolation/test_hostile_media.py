"""Small files that are dear to decode: each is refused, or decoded as far as is wanted, for little computing time."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from accounts.errors import ServiceError
from render.media.audio.voice import normalise_voice
from render.media.image.portrait import normalise_portrait
from render.media.isolation import client as isolation
from render.media.isolation.calls import IMAGE_LIMITS, PROBE_LIMITS
from render.media.reading.opening import MAX_TRACKS, open_source
from render.media.reading.video_cost import BURST_PIXELS, MAX_VIDEO_PIXELS, VideoCost
from render.media.video.source_video import normalise_video
from tests.render import hostile_media
from tests.render.hostile_media import IMAGE, KINDS, VOICE
from tests.render.media_makers import picture, wav_of

ACCEPTED = "accepted"
# How the first files of each kind end.
ENDS = {
    "scans": ["media_too_complex"] * 4,
    "huge frames in no time": ["media_too_complex", "image_too_large", "media_too_complex", "media_too_complex"],
    "deep GOPs": ["media_too_complex"] * 3,
    "animated images": [ACCEPTED] * 4,
    "100-hour headers": [ACCEPTED, "video_invalid", ACCEPTED, ACCEPTED, ACCEPTED, ACCEPTED],
    "zip-in-zip containers": [
        *("video_invalid", "audio_too_long", "video_invalid", "image_invalid", "image_invalid", "video_invalid"),
        "image_invalid",
    ],
}
QUICKEST = {"scans": 2, "zip-in-zip containers": 6}  # of their kinds; of every other it is the first


@pytest.fixture
def computing_seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of each process that has decoded something."""
    ask, spent = isolation._run, []

    def measure(*arguments):
        outcome = ask(*arguments)
        spent.append(outcome["cpu_seconds"])
        return outcome

    monkeypatch.setattr(isolation, "_run", measure)
    return spent


def code_of(step: Callable[[], object], param: str) -> str:
    try:
        step()
    except ServiceError as error:
        assert error.param == param
        return error.code
    return ACCEPTED


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param(kind, number, marks=[] if number == QUICKEST.get(kind, 0) else [pytest.mark.slow])
        for kind in KINDS
        for number in range(len(ENDS[kind]))
    ],
)
def test_each_ends_in_its_code_within_its_limit(
    kind: str, number: int, tmp_path: Path, computing_seconds: list[float]
) -> None:
    param, content = KINDS[kind](number)
    (tmp_path / "source").write_bytes(content)

    code = code_of(lambda: hostile_media.decode(param, tmp_path / "source", tmp_path), param)

    assert code == ENDS[kind][number]
    assert max(computing_seconds) < min(PROBE_LIMITS.cpu_seconds, IMAGE_LIMITS.cpu_seconds) / 2


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (hostile_media.many_segments(3000), "media_too_complex"),
        (hostile_media.many_segments(100), ACCEPTED),
        (hostile_media.many_chunks(80_000), "media_too_complex"),
        (hostile_media.many_chunks(1000), ACCEPTED),
        (picture("JPEG", progressive=True), ACCEPTED),
        (picture("JPEG") + picture("JPEG", progressive=True) * 50, ACCEPTED),  # of a motion photo: behind its end
    ],
    ids=["3000 segments", "100 segments", "80000 chunks", "1000 chunks", "progressive", "pictures behind its end"],
)
def test_the_parts_of_a_picture_are_counted(content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)

    assert code_of(lambda: normalise_portrait(tmp_path / "source", tmp_path / "p.png", param=IMAGE), IMAGE) == code


@pytest.mark.parametrize(("copies", "code"), [(89, ACCEPTED), (91, "media_too_complex")])
def test_a_hundred_scans_are_allowed(copies: int, code: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (320, 240)).save(file, "JPEG", progressive=True)  # of ten scans
    good = file.getvalue()
    scan = good[good.rindex(b"\xff\xda") : -2]
    (tmp_path / "source").write_bytes(good[:-2] + scan * copies + b"\xff\xd9")

    assert code_of(lambda: normalise_portrait(tmp_path / "source", tmp_path / "p.png", param=IMAGE), IMAGE) == code


SPEEDS = [
    (2880, 14, 1500, ACCEPTED),  # as many pixels as 4K has, at 60 frames a second
    (2880, 11, 1, ACCEPTED),  # so many may come at once
    (2880, 14, 1, "media_too_complex"),
    (320, 1000, 90, ACCEPTED),  # a thousand frames a second, as slow motion has
    (64, 1400, 1, "media_too_complex"),
]


@pytest.mark.parametrize(("side", "frames", "ticks", "code"), SPEEDS)
def test_frames_may_come_as_fast_as_a_phone_films(side: int, frames: int, ticks: int, code: str) -> None:
    cost = VideoCost(IMAGE, "mov,mp4,m4a,3gp,3g2,mj2")

    def count() -> None:
        for number in range(frames):
            packet = av.Packet()
            packet.dts, packet.time_base = number * ticks, Fraction(1, 90_000)
            cost.add(packet, side, side)

    assert code_of(count, IMAGE) == code


@pytest.mark.slow
@pytest.mark.parametrize(("side", "frames", "ticks", "code"), SPEEDS)
def test_films_may_be_as_fast_as_a_phone_films(side: int, frames: int, ticks: int, code: str, tmp_path: Path) -> None:
    content = hostile_media.timed_film("libx264", "mp4", side, frames, lambda frame: frame * ticks)
    (tmp_path / "source").write_bytes(content)

    def normalise() -> None:
        normalise_video(tmp_path / "source", tmp_path / "v.mp4", max_seconds=1, param=IMAGE)

    assert code_of(normalise, IMAGE) == code


def test_a_film_that_was_cut_within_its_group_of_pictures_is_taken(tmp_path: Path) -> None:
    """Hidden frames before the three that are shown, as phones write that cut without encoding."""
    side = 1280
    hidden = BURST_PIXELS // side**2 + 2  # more than may come at once
    content = hostile_media.timed_film(
        "libx264",
        "mp4",
        side,
        hidden + 3,
        lambda at: (at - hidden) * 3600,
        avoid_negative_ts="disabled",
        use_editlist="1",
    )
    (tmp_path / "source").write_bytes(content)

    video = normalise_video(tmp_path / "source", tmp_path / "v.mp4", max_seconds=10, param=IMAGE)

    assert video.num_frames == 3


def test_of_a_film_that_is_cropped_the_frames_count_as_they_are_decoded(tmp_path: Path) -> None:
    """Of 2880 x 2880 pixels, 256 x 256 are shown."""
    cropped = {"x264-params": f"keyint=infinite:scenecut=0:crop-rect=0,0,{2880 - 256},{2880 - 256}"}
    content = hostile_media.timed_film("libx264", "mp4", 2880, 24, lambda frame: frame, encoder=cropped)
    (tmp_path / "source").write_bytes(content)
    with open_source(tmp_path / "source") as container:
        assert container.streams.video[0].width == 256

    def normalise() -> None:
        normalise_video(tmp_path / "source", tmp_path / "v.mp4", max_seconds=1, param=IMAGE)

    assert code_of(normalise, IMAGE) == "media_too_complex"


def test_a_film_tells_its_size_when_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(hostile_media.timed_film("libx264", "mp4", 4560, 1, lambda at: 0))

    with pytest.raises(ServiceError, match="4560 x 4560 pixels. At most 20.7 megapixels") as caught:
        normalise_video(tmp_path / "source", tmp_path / "v.mp4", max_seconds=1, param=IMAGE)

    assert caught.value.code == "image_too_large"
    assert 4560 * 4560 > MAX_VIDEO_PIXELS > 4480 * 4480


@pytest.mark.parametrize("tracks", [51, 5000])
def test_of_thousands_of_tracks_no_more_are_looked_at_than_cameras_write(tracks: int, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(hostile_media.many_tracks(tracks))

    with open_source(tmp_path / "source") as container:
        assert len(container.streams) == MAX_TRACKS
    assert code_of(lambda: hostile_media.decode(IMAGE, tmp_path / "source", tmp_path), IMAGE) == "video_invalid"


@pytest.mark.parametrize("codec", ["V_SNOW", "V_MS/VFW/FOURCC", "V_QUICKTIME", "V_PNG"])
def test_a_film_of_a_codec_that_no_recorder_uses_is_not_decoded(codec: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(hostile_media.matroska(codec, (320, 240), [b"x" * 100]))

    assert code_of(lambda: hostile_media.decode(IMAGE, tmp_path / "source", tmp_path), IMAGE).endswith("_invalid")


def test_a_voice_of_more_channels_than_a_recorder_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(wav_of(channels=20, rate=96_000, data=bytes(40 * 9600)))

    with pytest.raises(ServiceError, match="20 channels at 96000 Hz. At most 8 at 192000 Hz") as caught:
        normalise_voice(tmp_path / "source", tmp_path / "v.wav", max_seconds=10, param=VOICE)

    assert caught.value.code == "audio_invalid"
