"""Which frame of a video becomes its poster: one with open eyes, a mouth that is closed or smiles, and no blur."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.faces import Face, FaceFinder, RgbImage

STEP = 6  # frames: as many as a blink lasts
CANDIDATES = 12  # of the first three seconds: the cost does not grow with the video
SEARCH_EVERY = 4  # candidates, until there is a face: a search costs ten times as much as following one
MIN_SCORE = 0.8  # of the mesh, for a face that is followed
MAIN_FACE = 0.5  # of the widest one's width: smaller faces do not count

# Face Mesh's indices. Of each eye: the corners and the middles of the lids.
EYES = ((33, 133, 159, 145), (362, 263, 386, 374))
LIPS = (13, 14)  # their inner edges
CORNERS = (61, 291)  # of the mouth

CLOSED_EYES, OPEN_EYES = 0.7, 0.9  # of the widest that they are in any candidate; the mesh sees closed ones half open
CLOSED_LIPS, OPEN_LIPS = 0.05, 0.35  # gap / width of the mouth
SMILE = 0.1  # mouth widths that the corners lie above the middle of the lips
WEIGHTS = (2.0, 1.0, 0.3, 0.3)  # of eyes, lips, smile, sharpness


def poster_frame(segments: Sequence[Path]) -> tuple[Path, int]:
    """A segment, and the number of the frame in it. If no face is found, it is the middle one of the candidates.

    The worst face of several counts. Equal videos give equal frames.
    """
    frames = list(islice(_candidates(segments), CANDIDATES))
    measures = _measure([image for _, _, image in frames])
    best = int(np.argmax(_scores(measures))) if measures.size else len(frames) // 2
    segment, number, _ = frames[best]
    return segment, number


def _candidates(segments: Sequence[Path]) -> Iterator[tuple[Path, int, RgbImage]]:
    count = 0
    for segment in segments:
        with av.open(str(segment), mode="r") as container:
            for number, frame in enumerate(container.decode(container.streams.video[0])):
                if count % STEP == 0:
                    yield segment, number, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                count += 1


def _measure(images: list[RgbImage]) -> NDArray[np.float64]:
    """Images x faces x (eyes, lips, smile, sharpness), nan where a face is out of sight. Empty if there is no face."""
    finder = FaceFinder()
    faces: list[Face] = []
    rows: list[list[tuple[float, ...]]] = []
    for index, image in enumerate(images):
        if faces:
            followed = [finder.follow(image, face) for face in faces]
        else:
            found = finder.find(image) if index % SEARCH_EVERY == 0 else []
            faces = followed = [face for face in found if face.width >= MAIN_FACE * found[0].width]
        rows.append([_measure_face(image, face) if face.score >= MIN_SCORE else (np.nan,) * 4 for face in followed])
        faces = [now if now.score >= MIN_SCORE else face for now, face in zip(followed, faces, strict=True)]
    return np.array([row or [(np.nan,) * 4] * len(faces) for row in rows])


def _measure_face(image: RgbImage, face: Face) -> tuple[float, float, float, float]:
    def distance(one: int, other: int) -> float:
        return float(np.linalg.norm(face.points[one] - face.points[other]))

    eyes = [distance(upper, lower) / distance(left, right) for left, right, upper, lower in EYES]
    width = distance(*CORNERS)
    x, y = face.points[CORNERS[1]] - face.points[CORNERS[0]]
    to_lips = face.points[list(LIPS)].mean(axis=0) - face.points[list(CORNERS)].mean(axis=0)
    lift = float(to_lips @ np.array([-y, x])) / width**2
    left, top = np.maximum(face.points.min(axis=0), 0).astype(int)
    right, bottom = np.ceil(face.points.max(axis=0)).astype(int)
    grey = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    return float(np.mean(eyes)), distance(*LIPS) / width, lift, float(cv2.Laplacian(grey, cv2.CV_64F).std())


def _scores(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """One for each image, rounded: what differs by less looks the same, and then the first one is taken."""
    eyes, lips, smile, sharpness = np.moveaxis(measures, -1, 0)
    shares = np.stack(
        [
            (eyes / np.nanmax(eyes, axis=0) - CLOSED_EYES) / (OPEN_EYES - CLOSED_EYES),
            (OPEN_LIPS - lips) / (OPEN_LIPS - CLOSED_LIPS),
            smile / SMILE,
            sharpness / np.nanmax(sharpness, axis=0),
        ],
        axis=-1,
    )
    scores = np.clip(shares, 0, 1) @ np.array(WEIGHTS)
    rounded: NDArray[np.float64] = np.round(np.nan_to_num(scores).min(axis=1), 2)
    return rounded
