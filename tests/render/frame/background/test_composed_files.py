"""Sources are composed before an engine reads them: a portrait to a PNG, a video to an mp4."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from render.frame.background.composed_files import compose_portrait, compose_video
from render.frame.background.composition import Composition
from tests.render.engines.conftest import write_video
from tests.render.frame.conftest import FACE, SIDE, Picture

GREEN = (0x20, 0x90, 0x50)
ON_GREEN = Composition((SIDE, 448), fit="pad", background="#209050")


def read(path: Path) -> Picture:
    with Image.open(path) as image:
        return np.asarray(image)


def frames_of(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def nothing() -> None:
    pass


def test_a_portrait_on_another_background(portrait_png: Path, portrait: Picture, tmp_path: Path) -> None:
    assert compose_portrait(portrait_png, tmp_path / "a.png", ON_GREEN)
    assert compose_portrait(portrait_png, tmp_path / "b.png", ON_GREEN)

    frame = read(tmp_path / "a.png")
    assert frame.shape == (SIDE, 448, 3)
    assert (frame[:, :90] == GREEN).all()
    assert np.abs(frame[:, 96:352][FACE].astype(int) - portrait[FACE]).max() <= 1
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_a_person_the_picture_is_kept_and_still_padded(empty_scene: Picture, tmp_path: Path) -> None:
    Image.fromarray(empty_scene).save(tmp_path / "scene.png")

    assert not compose_portrait(tmp_path / "scene.png", tmp_path / "a.png", ON_GREEN)

    frame = read(tmp_path / "a.png")
    assert frame.shape == (SIDE, 448, 3)
    assert np.array_equal(frame[:, 96:352], empty_scene)


def test_on_a_kept_background_nobody_is_cut_out(portrait_png: Path, portrait: Picture, tmp_path: Path) -> None:
    assert not compose_portrait(portrait_png, tmp_path / "a.png", Composition((SIDE, 448), fit="pad"))

    assert np.array_equal(read(tmp_path / "a.png")[:, 96:352], portrait)


def test_a_video_on_another_background(film_mp4: Path, tmp_path: Path) -> None:
    steps: list[str] = []

    for name in ("a.mp4", "b.mp4"):
        assert compose_video(
            film_mp4,
            tmp_path / name,
            ON_GREEN,
            check=lambda: steps.append("checked"),
            moved_on=lambda: steps.append("moved on"),
        )

    sources, frames = frames_of(film_mp4), frames_of(tmp_path / "a.mp4")
    assert len(frames) == len(sources) == 6
    assert steps.count("moved on") == 12
    assert steps.count("checked") >= 12
    for source, frame in zip(sources, frames, strict=True):
        assert frame.shape == (SIDE, 448, 3)
        assert np.abs(frame[:, :90].astype(int) - GREEN).max() <= 4
        assert np.abs(frame[:, 96:352][FACE].astype(int) - source[FACE]).mean() < 4
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_video_without_a_person_is_kept_and_still_padded(empty_scene: Picture, tmp_path: Path) -> None:
    source = write_video(tmp_path / "scene.mp4", [empty_scene] * 3, SIDE, SIDE)

    assert not compose_video(source, tmp_path / "a.mp4", ON_GREEN, check=nothing, moved_on=nothing)

    frames = frames_of(tmp_path / "a.mp4")
    assert len(frames) == 3
    assert np.abs(frames[2][:, 96:352].astype(int) - frames_of(source)[2]).mean() < 3


def test_a_lost_lease_ends_the_work_and_leaves_no_file(film_mp4: Path, tmp_path: Path) -> None:
    calls = iter([None, None])

    def check() -> None:
        if next(calls, "lost") == "lost":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        compose_video(film_mp4, tmp_path / "a.mp4", ON_GREEN, check=check, moved_on=nothing)

    assert list(tmp_path.iterdir()) == []
