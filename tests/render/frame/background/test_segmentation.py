"""A person is found, cut out at the edges of the picture, and does not flicker in a film."""

import numpy as np
import pytest

from render.frame.background.mask_edges import at_edges, person_colors
from render.frame.background.segmentation import PersonSegmenter, SmoothedMasks
from tests.render.frame.conftest import FACE, SIDE, WALL, Picture


@pytest.fixture(scope="module")
def segmenter() -> PersonSegmenter:
    return PersonSegmenter()


def test_a_person_is_found(segmenter: PersonSegmenter, portrait: Picture) -> None:
    small = np.tile(portrait[:, :20], (1, 20, 1))[:, : SIDE * 16 // 9]
    small[:, 90 : 90 + SIDE] = portrait  # in a wide picture

    assert segmenter.finds_person(portrait)
    assert segmenter.finds_person(np.ascontiguousarray(small))


def test_no_person_is_found_where_there_is_none(segmenter: PersonSegmenter, empty_scene: Picture) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    stripes = np.where(np.arange(SIDE)[:, None, None] // 8 % 2, 200, 50).astype(np.uint8).repeat(SIDE, 1).repeat(3, 2)
    pictures = {"scene": empty_scene, "noise": noise, "stripes": stripes, "black": np.zeros_like(noise)}

    assert {name: segmenter.finds_person(picture) for name, picture in pictures.items()} == dict.fromkeys(
        pictures, False
    )


def test_the_mask_holds_the_person_and_not_the_wall(segmenter: PersonSegmenter, portrait: Picture) -> None:
    mask = segmenter.mask(portrait)

    assert mask.shape == portrait.shape[:2]
    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert mask[FACE].min() > 0.99
    assert mask[WALL].max() < 0.01
    assert 0.005 < ((mask > 0.05) & (mask < 0.95)).mean() < 0.1  # only its edge is soft


def disc(radius: float) -> np.ndarray:
    down, right = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return np.clip(radius - np.hypot(down, right) + 0.5, 0, 1).astype(np.float32)


def test_the_edge_of_a_coarse_mask_moves_to_the_edge_in_the_picture() -> None:
    true = disc(80)
    picture = np.dstack([60 + 120 * true, 160 - 60 * true, 200 - 150 * true]).astype(np.uint8)
    coarse = disc(82).reshape(64, 4, 64, 4).mean(axis=(1, 3))

    found = at_edges(coarse, picture)

    enlarged = coarse.repeat(4, 0).repeat(4, 1)
    assert np.abs(found - true).mean() < 0.6 * np.abs(enlarged - true).mean()


def test_the_light_of_the_wall_is_taken_out_of_soft_edges() -> None:
    mask = np.clip((disc(80) + disc(76) + disc(72) + disc(68)) / 4, 0, 1)
    person = np.tile(np.where(np.arange(SIDE) // 4 % 2, 70.0, 40.0)[None, :, None], (SIDE, 1, 3))  # hair
    picture = (person * mask[..., None] + 230 * (1 - mask[..., None])).astype(np.uint8)

    colors = person_colors(picture, mask)

    edge = (mask > 0.2) & (mask < 0.9)
    assert np.abs(picture - person)[edge].mean() > 60
    assert np.abs(colors - person)[edge].mean() < 20
    assert np.abs(colors - picture)[mask == 1].max() < 1


def test_masks_of_a_still_film_are_calm() -> None:
    random = np.random.default_rng(2)
    masks = [np.clip(disc(80) + random.normal(0, 0.15, (SIDE, SIDE)), 0, 1).astype(np.float32) for _ in range(12)]
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    smoothed = SmoothedMasks()

    calm = [smoothed.next(mask, picture) for mask in masks]

    assert np.abs(np.diff(calm, axis=0)).mean() < 0.4 * np.abs(np.diff(masks, axis=0)).mean()


def test_masks_follow_what_moves_at_once() -> None:
    before, after = disc(60), np.roll(disc(60), 30, axis=1)
    smoothed = SmoothedMasks()

    for mask in (before, after):
        picture = (200 * mask[..., None]).repeat(3, 2).astype(np.uint8)
        last = smoothed.next(mask, picture)

    assert np.abs(last - after).max() < 0.01
