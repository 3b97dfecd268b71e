"""Pictures and speakers of every shape meet the model's sizes."""

from math import exp, log

import numpy as np
import pytest
import torch

from infinitetalk.buckets import BUCKETS, PUBLISHED_SIZES, Sizes, nearest_bucket, size_near
from infinitetalk.conditioning.image import plan_crop, resize_and_crop
from infinitetalk.conditioning.speaker_masks import speaker_masks
from infinitetalk.errors import InvalidInput

LEFT, RIGHT = [(10, 10, 90, 45)], [(10, 55, 90, 90)]


@pytest.mark.parametrize("resolution", ["480p", "720p"])
def test_every_bucket_fits_the_patches_of_the_latents(resolution: str) -> None:
    for ratio, (height, width) in BUCKETS[resolution].items():
        assert height % 16 == width % 16 == 0
        assert height / width == pytest.approx(ratio, abs=0.05)


def test_the_first_of_two_equally_near_buckets_wins() -> None:
    assert nearest_bucket(3, 4, {0.5: (16, 32), 1.0: (32, 32)}) == (16, 32)
    assert nearest_bucket(3, 4, {1.0: (32, 32), 0.5: (16, 32)}) == (32, 32)


@pytest.mark.parametrize(("side", "wide"), [(640, (480, 848)), (960, (720, 1280))])
def test_usual_shapes_get_usual_sizes(side: int, wide: tuple[int, int]) -> None:
    assert size_near(9 / 16, side**2) == wide
    assert size_near(16 / 9, side**2) == wide[::-1]
    assert size_near(1, side**2) == (side, side)


@pytest.mark.parametrize("pixels", [640**2, 960**2])
def test_every_shape_gets_a_size_of_nearly_its_ratio_and_area(pixels: int) -> None:
    for ratio in (exp(step / 200) for step in range(-220, 221)):  # 1/3 to 3
        height, width = size_near(ratio, pixels)

        assert height % 16 == width % 16 == 0
        assert abs(log(height / width / ratio)) < 0.02
        assert abs(log(height * width / pixels)) < 0.05


def test_no_side_is_shorter_than_a_token() -> None:
    assert size_near(1 / 1000, 64**2)[0] == 16
    assert size_near(1, 9) == (16, 16)


def test_of_equally_good_sizes_the_smaller_one_is_taken() -> None:
    side = 16 * (2 * 3) ** 0.5  # as far from 32 as from 48
    assert size_near(1, round(side**2)) == (32, 32)


def test_a_resolution_has_the_area_of_its_square() -> None:
    assert [PUBLISHED_SIZES.pixels(resolution) for resolution in BUCKETS] == [640**2, 960**2]
    assert Sizes({"480p": {0.5: (16, 32), 1.1: (48, 32)}}, 9, 5).pixels("480p") == 48 * 32


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (100, 400), (400, 100), (640, 640), (3000, 2001)])
def test_any_picture_comes_out_in_range_and_size(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), (0, 128, 255), np.uint8)
    target = nearest_bucket(*size, BUCKETS["480p"])

    out = resize_and_crop(picture, target)

    assert out.shape == (1, 3, 1, *target)
    torch.testing.assert_close(out[0, :, 0, 0, 0], torch.tensor([-1, 128 / 127.5 - 1, 1]), atol=1e-6, rtol=0)


def test_the_middle_is_kept() -> None:
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = 255

    assert resize_and_crop(picture, (100, 100)).eq(1).all()


def test_half_a_pixel_is_rounded_to_even() -> None:
    assert plan_crop(10, 13, (10, 10)).left == 2  # of 1.5
    assert plan_crop(10, 15, (10, 10)).left == 2  # of 2.5


def test_sizes_are_rounded_up() -> None:
    assert plan_crop(3, 4, (10, 10)).resized == (10, 14)  # of 13.3


def test_a_strip_that_would_take_gigabytes_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        resize_and_crop(np.zeros((1, 60_000, 3), np.uint8), (320, 1216))

    assert caught.value.code == "image_invalid"


def test_boxes_are_row_first_and_follow_the_crop() -> None:
    boxes = [[(0, 100, 50, 150)], [(50, 150, 100, 200)]]  # upper left and lower right of the middle square

    masks = speaker_masks((100, 300), (80, 80), boxes)

    assert masks.shape == (3, 10, 10)
    expected = torch.zeros(3, 10, 10)
    expected[0, :5, :5] = expected[1, 5:, 5:] = expected[2, :5, 5:] = expected[2, 5:, :5] = 1
    assert torch.equal(masks, expected)


def test_without_boxes_each_has_half_with_a_margin() -> None:
    masks = speaker_masks((640, 640), (640, 640))

    assert masks[0, 4:76, 2:38].all() and not masks[0, :, 40:].any()
    assert masks[1, 4:76, 42:78].all() and not masks[1, :, :40].any()
    assert torch.equal(masks.sum(dim=0), torch.ones(80, 80))


def test_a_speaker_may_have_several_boxes_and_another_the_whole_picture() -> None:
    faces = [(0, 0, 24, 24), (40, 40, 64, 64)]

    masks = speaker_masks((80, 80), (80, 80), [[(0, 0, 80, 80)], faces])

    expected = torch.zeros(10, 10)
    expected[0:3, 0:3] = expected[5:8, 5:8] = 1
    assert torch.equal(masks[1], expected)
    assert torch.equal(masks[0], 1 - expected)
    assert not masks[2].any()


@pytest.mark.parametrize("first", [0, 1])
def test_where_boxes_overlap_the_smallest_counts(first: int) -> None:
    """Whichever speaker it is of."""
    speakers = [[(0, 0, 64, 64), (8, 8, 16, 16)], [(0, 0, 32, 32)]]

    masks = speaker_masks((80, 80), (80, 80), speakers[first:] + speakers[:first])

    wide, narrow = masks[first], masks[1 - first]
    expected = torch.zeros(10, 10)
    expected[:4, :4] = 1
    expected[1, 1] = 0
    assert torch.equal(narrow, expected)
    assert wide.sum() == 64 - 15
    assert torch.equal(masks.sum(dim=0), torch.ones(10, 10))


def test_equally_large_boxes_that_overlap_are_the_second_speakers() -> None:
    masks = speaker_masks((80, 80), (80, 80), [[(0, 0, 40, 40)], [(0, 16, 40, 56)]])

    assert masks[0, :5].argmin(dim=1).eq(2).all()
    assert masks[1, :5, 2:7].all()


@pytest.mark.parametrize("resolution", ["480p", "720p"])
def test_the_halves_leave_a_background_in_every_bucket(resolution: str) -> None:
    for height, width in [(300, 1200), (480, 640), (500, 500), (640, 481), (1200, 301)]:
        target = nearest_bucket(height, width, BUCKETS[resolution])
        assert speaker_masks((height, width), target)[2, ::2, ::2].any()


def test_what_lies_outside_the_picture_does_not_count() -> None:
    inside = [[(0, 0, 50, 50)], [(20, 60, 100, 100)]]
    over_the_edge = [[(-20, -1e9, 50, 50)], [(20, 60, 400, 1e9)]]

    masks = [speaker_masks((100, 100), (80, 80), boxes) for boxes in (inside, over_the_edge)]

    assert torch.equal(*masks)


@pytest.mark.parametrize(
    ("boxes", "code", "words"),
    [
        ([[(0, 0, 50, 50)], [(0, 120, 50, 150), (0, 150, 50, 180)]], "speaker_outside", "second"),
        ([[(50, 0, 10, 50)], RIGHT], "speaker_outside", "first"),
        ([[(1, 1, 4, 4)], RIGHT], "speaker_outside", "first"),
        ([[], RIGHT], "speaker_outside", "first"),
        ([LEFT, [(0, 0, 100, 100), *LEFT]], "speaker_outside", "first"),  # equally large
        ([[(0, 0, float("nan"), 50)], RIGHT], "speakers_invalid", "two speakers"),
        ([LEFT], "speakers_invalid", "two speakers"),
        ([], "speakers_invalid", "two speakers"),
    ],
)
def test_boxes_that_would_poison_the_video_are_refused(boxes, code: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        speaker_masks((100, 100), (80, 80), boxes)

    assert caught.value.code == code
