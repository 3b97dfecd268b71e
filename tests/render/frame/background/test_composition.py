"""What a frame shows: where the source lies, what is beside it, and what is behind the person."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.frame.background.composition import Composition, FrameComposer
from render.frame.background.segmentation import PersonSegmenter
from render.frame.fit import fit
from tests.render.frame.conftest import FACE, SIDE, WALL, Picture

WIDE, TALL = (SIDE, 448), (448, SIDE)
GREEN = (0x20, 0x90, 0x50)


@pytest.fixture(scope="module")
def mask(portrait: Picture) -> np.ndarray:
    return PersonSegmenter().mask(portrait)


def composed(image: Picture, mask: np.ndarray | None = None, **composition) -> Picture:
    composer = FrameComposer(Composition(**composition))
    return composer.frame(composer.shown(image), mask)


def test_a_crop_is_shown_as_by_the_engines(portrait: Picture) -> None:
    crop = (20, 40, 128, 160)

    assert np.array_equal(composed(portrait, size=(192, 240), crop=crop), fit(portrait, 192, 240, crop))
    assert np.array_equal(composed(portrait, size=(192, 240)), fit(portrait, 192, 240))


@pytest.mark.parametrize(
    ("size", "place"),
    [(WIDE, np.s_[:, 96:352]), (TALL, np.s_[96:352]), ((448, 512), np.s_[:, 32:480])],
    ids=["wide", "tall", "larger"],
)
def test_a_padded_source_lies_whole_in_the_middle(portrait: Picture, size: tuple[int, int], place) -> None:
    frame = composed(portrait, size=size, fit="pad", pad_color="#209050")

    side = min(size)
    whole = np.asarray(Image.fromarray(portrait).resize((side, side), Image.Resampling.BILINEAR))
    assert frame.shape == (*size, 3)
    assert np.array_equal(frame[place], whole)
    beside = np.ones(size, bool)
    beside[place] = False
    assert (frame[beside] == GREEN).all()


def test_a_part_of_a_source_can_be_padded(portrait: Picture) -> None:
    frame = composed(portrait, size=WIDE, crop=(0, 64, 128, 128), fit="pad", pad_color="#209050")

    part = np.asarray(Image.fromarray(portrait[:128, 64:192]).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    assert np.array_equal(frame[:, 96:352], part)


def test_without_a_colour_the_blurred_source_is_beside_it(portrait: Picture) -> None:
    frame = composed(portrait, size=WIDE, fit="pad")

    assert np.array_equal(frame[:, 96:352], portrait)
    beside = frame[:, :96].astype(int)
    assert 20 < beside.mean() < portrait.mean()  # dark, not black
    assert np.abs(np.diff(beside, axis=0)).max() <= 4  # nothing sharp in it
    assert np.ptp(beside) > 30


def test_a_colour_behind_the_person(portrait: Picture, mask: np.ndarray) -> None:
    frame = composed(portrait, mask, size=(SIDE, SIDE), background="#209050")

    assert (frame[WALL] == GREEN).all()
    assert np.abs(frame[FACE].astype(int) - portrait[FACE]).max() <= 1


def test_a_picture_behind_the_person(portrait: Picture, mask: np.ndarray, empty_scene: Picture, folder: Path) -> None:
    path = folder / "scene.png"
    Image.fromarray(empty_scene[:200]).save(path)

    frame = composed(portrait, mask, size=(SIDE, SIDE), background=path)

    assert np.array_equal(frame[WALL], fit(empty_scene[:200], SIDE, SIDE)[WALL])
    assert np.abs(frame[FACE].astype(int) - portrait[FACE]).max() <= 1


def test_a_blurred_background_has_no_halo_of_the_person() -> None:
    """A red person before a blue and grey chessboard."""
    down, right = np.mgrid[:SIDE, :SIDE]
    board = ((down // 16 + right // 16) % 2)[..., None]
    picture = np.where(board, (40, 60, 180), (40, 160, 180)).astype(np.uint8)
    is_person = np.hypot(down - 128, right - 128) < 60
    picture[is_person] = (240, 20, 20)

    frame = composed(picture, is_person.astype(np.float32), size=(SIDE, SIDE), background="blur", blur=0.8)

    assert (frame[is_person] == (240, 20, 20)).all()
    assert np.abs(frame[~is_person][:, 0].astype(int) - 40).max() <= 2
    assert frame[~is_person][:, 1].std() < 0.5 * picture[~is_person][:, 1].std()


def test_the_blur_grows_with_its_strength(portrait: Picture, mask: np.ndarray) -> None:
    frames = [composed(portrait, mask, size=(SIDE, SIDE), background="blur", blur=strength) for strength in (0, 0.3, 1)]

    detail = [np.abs(np.diff(frame[WALL].astype(int), axis=0)).mean() for frame in frames]
    assert detail[0] > detail[1] > detail[2]
    assert np.abs(frames[0][WALL].astype(int) - portrait[WALL]).max() <= 1


def test_another_background_goes_on_beside_the_source(portrait: Picture, mask: np.ndarray) -> None:
    frame = composed(portrait, mask, size=TALL, fit="pad", background="#209050")

    assert (frame[:192] == GREEN).all()  # and the person, cut off at the chest, stands at the bottom
    assert np.abs(frame[192:][FACE].astype(int) - portrait[FACE]).max() <= 1


def test_a_padding_of_another_colour_than_the_background(portrait: Picture, mask: np.ndarray) -> None:
    frame = composed(portrait, mask, size=TALL, fit="pad", background="#209050", pad_color="#ffffff")

    assert (frame[:96] == 255).all()
    assert (frame[352:] == 255).all()
    assert (frame[96:352][WALL] == GREEN).all()


def test_a_blurred_background_goes_on_without_a_seam(portrait: Picture, mask: np.ndarray) -> None:
    frame = composed(portrait, mask, size=WIDE, fit="pad", background="blur")

    beyond, within = frame[:60, 90:96].astype(int), frame[:60, 96:102].astype(int)
    assert np.abs(beyond.mean(axis=1) - within.mean(axis=1)).max() < 8
