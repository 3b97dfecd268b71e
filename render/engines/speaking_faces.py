"""Which of the faces that were found speak: those that the customer has chosen, or else the widest."""

from collections.abc import Sequence

import numpy as np

from render.engines import no_face
from render.engines.faces import MAX_YAW, Face, RgbImage
from render.frame.boxes import Box
from render.frame.shot import MIN_FACE


def speaking_faces(found: list[Face], count: int, boxes: Sequence[Box], image: RgbImage) -> list[Face]:
    """The faces of the speakers, by voice: those in the boxes, or without boxes the `count` widest that can be moved,
    from left to right.

    found: all faces of the image, also those that its edge cuts off. boxes: by voice, as shares of the image. Raises
    ServiceError `no_face` or `face_cropped`, which tells what is wrong with the image, or with the face in a box.
    """
    if boxes:
        return [_widest([_nearest(found, box, *image.shape[:2])], 1)[0] for box in boxes]
    return _widest(found, count)


def _widest(found: list[Face], count: int) -> list[Face]:
    faces = [face for face in found if not face.is_cut_off]
    if not faces:
        raise no_face.cropped() if found else no_face.none_found()
    large = [face for face in faces if face.width >= MIN_FACE]
    usable = [face for face in large if abs(face.yaw) <= MAX_YAW]
    if len(usable) >= count:
        return sorted(usable[:count], key=lambda face: float(face.centre[0]))
    if count > 1 and len(usable) == 1:
        raise no_face.one_for_two_voices()
    if not large:
        raise no_face.too_small(faces[0].width, MIN_FACE)
    raise no_face.turned_away()


def _nearest(found: list[Face], box: Box, height: int, width: int) -> Face:
    x, y = box.centre
    middle = np.array([x * width, y * height], np.float32)
    there = [face for face in found if box.holds((float(face.centre[0]) / width, float(face.centre[1]) / height))]
    if not there:
        raise no_face.none_found()
    return min(there, key=lambda face: float(np.linalg.norm(face.centre - middle)))
