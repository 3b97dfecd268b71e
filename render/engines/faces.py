"""Faces in an image: BlazeFace finds candidates, Face Mesh places 468 landmarks on each and tells which are faces.

Both are MediaPipe's models, run by OpenCV's dnn module; see `models/NOTICE.md`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

RgbImage = NDArray[np.uint8]  # H x W x 3, RGB
Points = NDArray[np.float32]  # N x 2, pixels (x, y)

MODELS = Path(__file__).parent / "models"
DETECTOR_SIDE = 128
MESH_SIDE = 192
MESH_MARGIN = 1.5  # crop side / face size, as Face Mesh was trained

# Low, because the detector is unsure of small and tilted faces. The mesh's score decides.
MIN_DETECTION = 0.25
MIN_MESH_SCORE = 0.99  # faces have 1.00, wrist watches and badges up to 0.98
MAX_CANDIDATES = 16
MIN_CONTRAST = 8  # levels of 255; what has less is a plain background or a bar beside the image

MAX_YAW = 35.0  # degrees; of a face turned further, one corner of the mouth is hidden

LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 33, 263  # left and right in the image, if the face is upright
LEFT_EDGE, RIGHT_EDGE = 234, 454
FOREHEAD, CHIN = 10, 152
# Corners of the eyes and the mouth, and the outer edges of the lips: these move, so they must lie within the image.
MOVED = [33, 133, 362, 263, 61, 291, 0, 17]


@dataclass(frozen=True)
class Face:
    points: Points  # 468 x 2
    depth: NDArray[np.float32]  # 468, pixels, smaller is nearer to the camera
    score: float  # Face Mesh's probability that this is a face; 0 if it is cut off by the image's edge
    is_cut_off: bool = False  # it is a face, and the image's edge cuts off its eyes or its mouth

    @property
    def width(self) -> float:
        return float(np.linalg.norm(self.points[RIGHT_EDGE] - self.points[LEFT_EDGE]))

    @property
    def height(self) -> float:
        return float(np.linalg.norm(self.points[CHIN] - self.points[FOREHEAD]))

    @property
    def centre(self) -> Points:
        middle: Points = (self.points.min(axis=0) + self.points.max(axis=0)) / 2
        return middle

    @property
    def roll(self) -> float:
        """Degrees, clockwise in the image."""
        across = self.points[RIGHT_EYE_OUTER] - self.points[LEFT_EYE_OUTER]
        return float(np.degrees(np.arctan2(across[1], across[0])))

    @property
    def yaw(self) -> float:
        """Degrees, 0 when the face looks into the camera."""
        return float(np.degrees(np.arctan2(self.depth[RIGHT_EDGE] - self.depth[LEFT_EDGE], self.width)))


@dataclass(frozen=True)
class Candidate:
    """Where a face may be: an upright square turned by `roll` around `centre`."""

    centre: tuple[float, float]
    size: float  # pixels
    roll: float  # degrees
    score: float


class FaceFinder:
    """For one thread at a time: a dnn network keeps its inputs."""

    def __init__(self) -> None:
        # The classic engine, because OpenCV's new one returns only one of a network's outputs.
        self._detector = cv2.dnn.readNetFromTFLite(
            str(MODELS / "face_detection_short_range.tflite"), engine=cv2.dnn.ENGINE_CLASSIC
        )
        self._mesh = cv2.dnn.readNetFromTFLite(str(MODELS / "face_landmark.tflite"), engine=cv2.dnn.ENGINE_CLASSIC)
        self._anchors = _anchors()

    def find(self, image: RgbImage) -> list[Face]:
        """All faces of the image that its edge does not cut off, the widest first."""
        return [face for face in self.find_all(image) if not face.is_cut_off]

    def find_all(self, image: RgbImage) -> list[Face]:
        """All faces of the image, also those that its edge cuts off, the widest first."""
        candidates: list[Candidate] = []
        for left, top, side in _windows(*image.shape[:2]):
            candidates += self._detect(image, left, top, side)
        faces: list[Face] = []
        for candidate in _distinct(candidates):
            face = self.trace(image, candidate)
            is_face = face.is_cut_off or face.score >= MIN_MESH_SCORE
            if is_face and not any(_same(face, other) for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: -face.width)

    def follow(self, image: RgbImage, previous: Face) -> Face:
        """The face near its place in the previous frame of a video. The score tells whether it is still there."""
        size = float(np.ptp(previous.points, axis=0).max())
        x, y = map(float, previous.centre)
        return self.trace(image, Candidate((x, y), size, previous.roll, previous.score), rounds=1)

    def trace(self, image: RgbImage, candidate: Candidate, rounds: int = 3) -> Face:
        """The landmarks of one face. Each round crops by the result of the one before; a detection needs three."""
        for _ in range(rounds):
            face = self._landmarks(image, candidate)
            x, y = map(float, face.centre)
            candidate = Candidate((x, y), float(np.ptp(face.points, axis=0).max()), face.roll, face.score)
        return face

    def _detect(self, image: RgbImage, left: int, top: int, side: int) -> list[Candidate]:
        window = image[max(top, 0) : top + side, max(left, 0) : left + side]
        scale = DETECTOR_SIDE / side
        small = cv2.resize(window, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if np.ptp(small) < MIN_CONTRAST:
            return []
        square = np.zeros((DETECTOR_SIDE, DETECTOR_SIDE, 3), np.uint8)
        y, x = round(max(-top, 0) * scale), round(max(-left, 0) * scale)
        small = small[: DETECTOR_SIDE - y, : DETECTOR_SIDE - x]
        square[y : y + small.shape[0], x : x + small.shape[1]] = small

        self._detector.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
        boxes, logits = self._detector.forward(["regressors", "classificators"])
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -80, 80)))
        candidates = []
        for index in np.flatnonzero(scores >= MIN_DETECTION):
            # Centre, size, then six key points, first the two eyes; in pixels from the anchor.
            box = boxes.reshape(-1, 16)[index]
            centre = (box[:2] + self._anchors[index]) / scale + (left, top)
            across = box[6:8] - box[4:6]
            roll = float(np.degrees(np.arctan2(across[1], across[0])))
            size = float(box[2:4].max() / scale)
            candidates.append(Candidate((float(centre[0]), float(centre[1])), size, roll, float(scores[index])))
        return candidates

    def _landmarks(self, image: RgbImage, candidate: Candidate) -> Face:
        scale = MESH_SIDE / (candidate.size * MESH_MARGIN)
        to_crop = cv2.getRotationMatrix2D(candidate.centre, candidate.roll, scale)
        to_crop[:, 2] += MESH_SIDE / 2 - np.array(candidate.centre)
        crop = cv2.warpAffine(image, to_crop, (MESH_SIDE, MESH_SIDE), flags=cv2.INTER_LINEAR)
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        landmarks, logit = self._mesh.forward(["conv2d_21", "conv2d_31"])
        landmarks = landmarks.reshape(468, 3)
        to_image = cv2.invertAffineTransform(to_crop)
        points = (landmarks[:, :2] @ to_image[:, :2].T + to_image[:, 2]).astype(np.float32)
        height, width = image.shape[:2]
        reaches_out = bool((points[MOVED] < 2).any() or (points[MOVED] > (width - 3, height - 3)).any())
        score = float(1 / (1 + np.exp(-logit.item())))
        return Face(
            points=points,
            depth=(landmarks[:, 2] / scale).astype(np.float32),
            score=0.0 if reaches_out else score,
            is_cut_off=reaches_out and score >= MIN_MESH_SCORE,
        )


def _anchors() -> Points:
    """896 x 2: the centres of BlazeFace's cells, two boxes for each of 16 x 16 and six for each of 8 x 8."""
    centres = []
    for stride, boxes in ((8, 2), (16, 6)):
        cells = np.arange(DETECTOR_SIDE // stride) * stride + stride / 2
        x, y = np.meshgrid(cells, cells)
        centres.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), boxes, axis=0))
    return np.concatenate(centres).astype(np.float32)


def _windows(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(left, top, side) of the squares to search: the whole image, then squares of its short side, and of half of it.

    The detector was trained on selfies: it finds faces of about a fifth of its view.
    """
    side = max(height, width)
    yield (width - side) // 2, (height - side) // 2, side
    short = min(height, width)
    for side in (short, short // 2):
        if side == max(height, width):
            continue
        for top in _offsets(height, side):
            for left in _offsets(width, side):
                yield left, top, side


def _offsets(length: int, side: int) -> list[int]:
    """Starts of windows that overlap by at least half and cover the whole length."""
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return [round(offset) for offset in np.linspace(0, length - side, count)]


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """The best one of each group of overlapping candidates, the best first."""
    distinct: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: -candidate.score):
        near = 0.4 * candidate.size
        if all(np.hypot(*np.subtract(candidate.centre, other.centre)) > near for other in distinct):
            distinct.append(candidate)
    return distinct[:MAX_CANDIDATES]


def _same(face: Face, other: Face) -> bool:
    return bool(np.linalg.norm(face.centre - other.centre) < 0.5 * max(face.width, other.width))
