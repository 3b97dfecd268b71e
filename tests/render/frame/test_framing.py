"""Which part of a wide or tall source is shown: what is cut off is chosen, and only if it must be."""

import pytest

from accounts.errors import ServiceError
from render.frame.boxes import WHOLE, Box
from render.frame.framing import choose_framing
from render.frame.size import RATIOS, frame_size

PIXELS = 640 * 640


def face(x: float, y: float, size: tuple[int, int], side: int = 150) -> Box:
    """A face of side x side pixels whose upper left corner is at this pixel of a source (width x height)."""
    return Box(x / size[0], y / size[1], side / size[0], side / size[1])


def framing_of(
    size: tuple[int, int], faces: list[Box], count: int = 1, aspect_ratio: str = "source", fit: str = "crop"
):
    source = size[::-1]
    return choose_framing(source, frame_size(*source, aspect_ratio, PIXELS), faces, count, fit=fit)


@pytest.mark.parametrize(
    ("size", "place"),
    [((1800, 300), (1620, 80)), ((1800, 300), (30, 80)), ((300, 1500), (80, 30)), ((300, 1500), (80, 1320))],
    ids=["right", "left", "top", "bottom"],
)
@pytest.mark.parametrize("aspect_ratio", ["source", "1:1", "16:9", "9:16"])
def test_a_face_at_the_edge_is_shown_with_room_around_it(size, place, aspect_ratio) -> None:
    there = face(*place, size)

    framing = framing_of(size, [there], aspect_ratio=aspect_ratio)

    assert framing.crop is not None
    top, left, height, width = framing.crop
    assert 0 <= top <= size[1] - height and 0 <= left <= size[0] - width
    seen = there.seen_from(framing.shown)
    assert seen.x >= 0 and seen.y >= 0 and seen.right <= 1 and seen.bottom <= 1
    assert framing.cut == pytest.approx(1 - height * width / (size[0] * size[1]))


@pytest.mark.parametrize(
    ("size", "place"),
    [((1800, 300), (825, 80)), ((1800, 300), (560, 80)), ((300, 1500), (80, 675))],
    ids=["middle of wide", "a little aside", "middle of tall"],
)
def test_a_face_that_the_middle_shows_leaves_it_the_middle(size, place) -> None:
    assert framing_of(size, [face(*place, size)]).crop is None


def test_the_hair_is_kept_where_there_is_room_for_it() -> None:
    """The middle would show the face, and cut off what is above it."""
    size = (600, 800)
    there = Box(0.3, 0.25, 0.4, 0.3)

    framing = framing_of(size, [there], aspect_ratio="1:1")

    assert there.y - framing.shown.y >= 0.6 * there.height - 1e-3


def test_the_middle_moves_no_farther_than_the_face_needs() -> None:
    size = (1800, 300)
    starts = [framing_of(size, [face(x, 80, size)]).crop[1] for x in (1450, 1500)]

    assert starts[1] - starts[0] == pytest.approx(50, abs=2)


def test_both_of_two_speakers_are_shown_or_it_is_told_that_they_cannot() -> None:
    size = (2400, 300)
    near, far = face(1600, 80, size), face(2200, 80, size)

    framing = framing_of(size, [near, far], count=2)
    assert near.seen_from(framing.shown).x >= 0 and far.seen_from(framing.shown).right <= 1

    with pytest.raises(ServiceError, match="too far apart") as caught:
        framing_of(size, [face(0, 80, size), far], count=2)
    assert (caught.value.code, caught.value.param) == ("no_face", "image_url")


def test_a_small_face_in_the_middle_does_not_keep_out_the_large_one() -> None:
    size = (1800, 300)
    large, small = face(1600, 80, size), face(870, 100, size, side=60)

    assert large.seen_from(framing_of(size, [large, small]).shown).right <= 1


def test_of_a_single_face_that_is_larger_than_what_fits_the_middle_is_shown() -> None:
    """It cannot be too far apart from others."""
    framing = framing_of((600, 1000), [Box(0.1, -0.02, 0.8, 1.04)], aspect_ratio="1:1")

    assert framing.crop == (200, 0, 600, 600)


def test_what_hardly_differs_is_not_reframed() -> None:
    framing = framing_of((1920, 1080), [Box(0, 0, 0.1, 0.2)], aspect_ratio="16:9")
    assert framing.crop is None and not framing.is_padded


@pytest.mark.parametrize("aspect_ratio", RATIOS)
@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (1000, 1000), (2400, 300)])
def test_padding_shows_all_of_the_source_in_the_middle(size, aspect_ratio) -> None:
    framing = framing_of(size, [Box(0, 0, 0.1, 0.2)], aspect_ratio=aspect_ratio, fit="pad")

    assert framing.crop is None
    if framing.is_padded:
        assert framing.cut == pytest.approx(0)
        seen = WHOLE.seen_from(framing.shown)
        assert seen.centre == pytest.approx((0.5, 0.5))
        assert max(seen.width, seen.height) == pytest.approx(1, abs=1e-9)
    else:  # It has this ratio already, but for some pixels.
        assert framing.cut < 0.02
