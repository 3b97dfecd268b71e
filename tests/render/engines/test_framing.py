"""Faces at the edge of wide and tall pictures, for both engines: what is cut off is chosen, and only if it must be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from accounts.errors import ServiceError
from infinitetalk.buckets import BUCKETS, nearest_bucket
from render.engines.base import RenderInputs
from render.engines.draft.engine import DraftEngine
from render.engines.faces import Face, FaceFinder, talking_faces
from render.engines.frame_size import fit, frame_size
from render.engines.framing import crop_with_faces
from render.engines.infinitetalk import InfiniteTalkEngine
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.render.engines.conftest import inputs, write_video

SIDE = 300  # of the astronaut's head


def picture_of(astronaut: np.ndarray, size: tuple[int, int], places: list[tuple[int, int]]) -> np.ndarray:
    """width x height, with heads whose upper left corners are at these places."""
    picture = np.full((size[1], size[0], 3), 255, np.uint8)
    for x, y in places:
        picture[y : y + SIDE, x : x + SIDE] = astronaut
    return picture


def given(folder: Path, picture: np.ndarray, *voices: Path) -> RenderInputs:
    Image.fromarray(picture).save(folder / "wide.png")
    return inputs(folder / "wide.png", *voices)


def framed(source: RenderInputs, resolution: str = "480p") -> tuple[tuple[int, int, int, int] | None, np.ndarray]:
    """The crop, and what is shown."""
    with Image.open(source.portrait) as image:
        picture = np.asarray(image)
    size = frame_size(*picture.shape[:2], resolution)
    crop = crop_with_faces(source, *size)
    return crop, np.ascontiguousarray(fit(picture, *size, crop))


@pytest.mark.parametrize(
    ("size", "place", "resolution"),
    [
        ((1800, 300), (1500, 0), "480p"),
        ((1800, 300), (0, 0), "720p"),
        ((300, 1500), (0, 0), "480p"),
        ((300, 1500), (0, 1200), "720p"),
        ((2048, 400), (1700, 60), "480p"),
    ],
    ids=["right", "left", "top", "bottom", "right with some room"],
)
def test_a_face_at_the_edge_is_in_the_film(size, place, resolution, astronaut, silence, tmp_path) -> None:
    source = given(tmp_path, picture_of(astronaut, size, [place]), silence)

    plan = InfiniteTalkEngine(socket="/nowhere").plan(source, Parameters(seed=1, resolution=resolution))

    crop = plan.crop
    assert crop is not None
    top, left, height, width = crop
    assert 0 <= top <= size[1] - height and 0 <= left <= size[0] - width
    shown = np.ascontiguousarray(fit(np.asarray(Image.open(source.portrait)), plan.height, plan.width, crop))
    [face] = talking_faces(FaceFinder().find(shown), 1)
    # With its hair and chin: nothing of it touches the edge.
    room = 0.25 * face.height
    assert face.points.min() > room and (shown.shape[1::-1] - face.points.max(axis=0)).min() > room


@pytest.mark.parametrize(
    ("size", "place"),
    [
        ((1800, 300), (750, 0)),
        ((1800, 300), (400, 0)),  # not in the middle, and still inside of what is shown
        ((300, 1500), (0, 600)),
        ((300, 300), (0, 0)),
    ],
    ids=["middle of wide", "a little aside", "middle of tall", "square"],
)
def test_a_face_that_the_middle_shows_is_framed_as_it_always_was(size, place, astronaut, silence, tmp_path) -> None:
    picture = picture_of(astronaut, size, [place])

    crop, shown = framed(given(tmp_path, picture, silence))

    assert crop is None
    assert np.array_equal(shown, fit(picture, *shown.shape[:2]))


def test_the_middle_moves_no_farther_than_the_face_needs(astronaut, silence, tmp_path) -> None:
    starts = []
    for x in (1450, 1500):
        crop, _ = framed(given(tmp_path, picture_of(astronaut, (1800, 300), [(x, 0)]), silence))
        starts.append(crop[1])
        assert crop[1] < 1800 - crop[3]  # not to the end
    assert starts[1] - starts[0] == pytest.approx(50, abs=5)


def test_both_of_two_speakers_are_in_the_film(astronaut, silence, tmp_path) -> None:
    source = given(tmp_path, picture_of(astronaut, (1800, 300), [(1000, 0), (1500, 0)]), silence, silence)

    _, shown = framed(source)

    assert len(talking_faces(FaceFinder().find(shown), 2)) == 2
    # For one voice the first of them is enough, and she is in the middle.
    assert framed(replace(source, voices=(silence,)))[0] is None


def test_two_speakers_too_far_apart_are_told(astronaut, silence, tmp_path) -> None:
    source = given(tmp_path, picture_of(astronaut, (2400, 300), [(0, 0), (2100, 0)]), silence, silence)

    with pytest.raises(ServiceError, match="too far apart") as caught:
        framed(source)

    assert (caught.value.code, caught.value.param) == ("no_face", "image_url")
    assert framed(replace(source, voices=(silence,)))[0] is not None


def test_a_small_face_in_the_middle_does_not_keep_out_the_large_one(astronaut, silence, tmp_path) -> None:
    picture = picture_of(astronaut, (1800, 300), [(1500, 0)])
    picture[100:220, 840:960] = np.asarray(Image.fromarray(astronaut).resize((120, 120)))

    crop, _ = framed(given(tmp_path, picture, silence))

    assert crop is not None


def test_of_a_single_face_that_is_larger_than_what_fits_the_middle_is_shown(monkeypatch, silence, tmp_path) -> None:
    """It cannot be too far apart from others."""
    rows, columns = np.linspace(-20, 1020, 468), np.linspace(100, 500, 468)
    face = Face(np.stack([columns, rows], axis=1).astype(np.float32), np.zeros(468, np.float32), 1.0)
    monkeypatch.setattr(Face, "width", 400.0)
    monkeypatch.setattr(Face, "yaw", 0.0)
    monkeypatch.setattr(FaceFinder, "find", lambda finder, image: [face])

    crop, _ = framed(given(tmp_path, np.zeros((1000, 600, 3), np.uint8), silence))

    assert crop == (50, 0, 900, 600)


def test_without_a_face_it_is_the_middle(silence, tmp_path) -> None:
    assert framed(given(tmp_path, skimage.data.coffee()[200:300], silence))[0] is None


def test_a_film_is_framed_by_its_first_faces(astronaut, silence, tmp_path) -> None:
    blank, frame = (picture_of(astronaut, (1800, 300), places) for places in ([], [(1500, 0)]))
    source = inputs(write_video(tmp_path / "wide.mp4", [blank] * 5 + [frame] * 10, 300, 1800), silence)
    parameters = Parameters(seed=1, frame_num=13)

    plan = DraftEngine().plan(source, parameters)
    [segment] = DraftEngine().segments(source, parameters, plan, None, FreeLease())

    assert plan.crop is not None and plan.crop[1] > 0
    assert len(talking_faces(FaceFinder().find(segment.frames[12]), 1)) == 1


@pytest.mark.parametrize("resolution", BUCKETS)
def test_what_is_left_of_a_source_has_the_size_of_the_whole(resolution) -> None:
    """Else a model that chooses by what it is given would choose another."""
    for height, width in [(437, 2048), (2048, 328), (1080, 1920), (1920, 1080), (1536, 2048), (99, 2048), (1000, 1000)]:
        size = frame_size(height, width, resolution)
        scale = max(size[0] / height, size[1] / width)
        shown = min(height, round(size[0] / scale)), min(width, round(size[1] / scale))
        assert nearest_bucket(*shown, BUCKETS[resolution]) == size
