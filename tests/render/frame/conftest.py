from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from creatorify.demo.media import write_portrait
from render.media.video.segment_file import encode_segment
from tests.render.engines.conftest import write_video

Picture = NDArray[np.uint8]
SIDE = 256
FACE, WALL = np.s_[70:110, 110:150], np.s_[10:60, 10:50]  # of the portrait


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("frame")


@pytest.fixture(scope="session")
def portrait_png(folder: Path) -> Path:
    path = folder / "portrait.png"
    with Image.open(write_portrait(folder / "portrait.jpg")) as image:
        image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(path)
    return path


@pytest.fixture(scope="session")
def portrait(portrait_png: Path) -> Picture:
    with Image.open(portrait_png) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="session")
def empty_scene() -> Picture:
    """A wall in uneven light with two framed pictures."""
    down, right = np.mgrid[:SIDE, :SIDE]
    scene = np.dstack([right // 3 + 120, down // 4 + 110, 160 - right // 4]).astype(np.uint8)
    scene[60:120, 40:100] = (150, 60, 40)
    scene[80:150, 150:220] = (40, 80, 140)
    return scene


@pytest.fixture(scope="session")
def moved(portrait: Picture) -> Callable[[int], list[Picture]]:
    """A film of the portrait, which moves to the right by two pixels in each frame."""
    return lambda num_frames: [np.roll(portrait, 2 * number, axis=1) for number in range(num_frames)]


@pytest.fixture(scope="session")
def film_mp4(folder: Path, moved) -> Path:
    return write_video(folder / "film.mp4", moved(6), SIDE, SIDE)


@pytest.fixture(scope="session")
def segments(folder: Path, moved) -> list[Path]:
    """Two of them, with five frames together."""
    frames = np.stack(moved(5))
    paths = [folder / "0.ts", folder / "1.ts"]
    for path, start, stop in zip(paths, (0, 3), (3, 5), strict=True):
        encode_segment(frames[start:stop], path, start_frame=start)
    return paths
