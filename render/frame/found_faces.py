"""The faces of a source, before it is known what of it is shown."""

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from render.engines.faces import MAX_YAW, Face, FaceFinder, RgbImage
from render.frame.boxes import Box
from render.frame.shot import Source

_local = threading.local()  # A finder serves one thread.
# Of a video, two frames a second of its first 2.4 seconds are searched.
VIDEO_FRAMES, VIDEO_EVERY = 61, 12


def find_faces(path: Path, *, is_video: bool, count: int = 1) -> Source:
    """Search a normalised source, an image or a video.

    Of a video: the first frame with `count` faces that look at the camera, or else the first with any face.
    """
    if not hasattr(_local, "finder"):  # Two networks are loaded, and kept for the next source.
        _local.finder = FaceFinder()
    finder: FaceFinder = _local.finder
    best: Source | None = None
    for image in _images(path, is_video=is_video):
        found = _of_image(finder, image)
        if len(found.facing) >= count:
            return found
        if best is None or (found.faces and not best.faces):
            best = found
    assert best is not None, "a normalised source has an image"
    return best


def _of_image(finder: FaceFinder, image: RgbImage) -> Source:
    height, width = image.shape[:2]
    faces = finder.find_all(image)
    whole = [face for face in faces if not face.is_cut_off]
    return Source(
        (height, width),
        tuple(_box(face, height, width) for face in whole),
        tuple(number for number, face in enumerate(whole) if abs(face.yaw) > MAX_YAW),
        tuple(_box(face, height, width) for face in faces if face.is_cut_off),
    )


def _images(path: Path, *, is_video: bool) -> Iterator[RgbImage]:
    if is_video:
        with av.open(str(path)) as container:
            for number, frame in enumerate(islice(container.decode(video=0), VIDEO_FRAMES)):
                if number % VIDEO_EVERY == 0:
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    else:
        with Image.open(path) as image:
            yield np.asarray(image.convert("RGB"))


def _box(face: Face, height: int, width: int) -> Box:
    left, top = map(float, face.points.min(axis=0))
    right, bottom = map(float, face.points.max(axis=0))
    box = Box(left / width, top / height, (right - left) / width, (bottom - top) / height)
    return Box.from_json(box.as_json())  # Rounded as in the facts of an asset, from which a dry run decides the same.
