"""Who speaks: which face each voice belongs to, as the customer has chosen it, and which faces keep still.

Plain arithmetic on boxes, so that a request can be refused before anything is rendered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.errors import ServiceError
from render.engines import no_face
from render.frame.boxes import Box

PARAM = "speakers"
MAX_OVERLAP = 0.5  # of the smaller of two speakers' boxes
# Room around a face that its voice moves, as shares of its size: the head with its hair, the neck and the shoulders.
# `render.frame.framing` has other values, of the room that looks well around a face.
ABOVE, BELOW, BESIDE = 0.6, 0.6, 0.4


@dataclass(frozen=True)
class Speakers:
    """Boxes as shares of the source. Empty: nobody was chosen, and the widest faces speak, from left to right."""

    faces: tuple[Box, ...] = ()  # by voice
    regions: tuple[Box, ...] = ()  # by voice: the part of the source that the voice moves
    others: tuple[Box, ...] = ()  # heads that must keep still while the only voice speaks

    def seen_from(self, shown: Box) -> "Speakers":
        """The same with boxes as shares of a part of the source, or of what it was made a part of."""
        lists = (self.faces, self.regions, self.others)
        return Speakers(*(tuple(box.seen_from(shown) for box in boxes) for boxes in lists))


def choose_speakers(
    requested: Sequence[Mapping[str, Any]], faces: Sequence[Box], cut_off: Sequence[Box] = ()
) -> Speakers:
    """The speakers of a request, `[{"audio": 1, "face": {"box": {...}} or {"index": 0}}, ...]`, one for each voice.

    faces: all that were found in the source, in any order; `index` counts them from left to right. cut_off: faces that
    the edge of the source cuts off. A box means the widest face whose middle it holds. Where no face was found at all,
    as in a drawing, the box is taken as it is.

    Raises ServiceError `no_face`, `no_face_in_box`, `face_cropped` or `speakers_overlap`.
    """
    if not requested:
        return Speakers()
    in_order = left_to_right(faces)
    given = [dict(speaker["face"]) for speaker in sorted(requested, key=lambda speaker: int(speaker["audio"]))]
    chosen = [_face(face, in_order, cut_off, f"{PARAM}.{number}.face") for number, face in enumerate(given)]
    regions = []
    for face, box in zip(given, chosen, strict=True):
        region = box.expanded(above=ABOVE, below=BELOW, beside=BESIDE)
        regions.append(_bounding_box(region, Box.from_json(face["box"])) if "box" in face else region)
    if len(chosen) == 2:
        boxes = [Box.from_json(face["box"]) if "box" in face else box for face, box in zip(given, chosen, strict=True)]
        if chosen[0] == chosen[1] or boxes[0].overlap(boxes[1]) > MAX_OVERLAP:
            raise ServiceError(
                "speakers_overlap", "Both voices have the same face. Give two faces that do not overlap.", param=PARAM
            )
        regions = _apart(regions, chosen)
        return Speakers(tuple(chosen), tuple(regions))
    others = []
    for other in in_order:
        if other != chosen[0]:
            region = other.expanded(above=ABOVE / 2, below=BELOW / 2, beside=BESIDE / 2)
            others.append(_apart([region, regions[0]], [other, chosen[0]])[0])
    return Speakers(tuple(chosen), tuple(regions), tuple(others))


def left_to_right(boxes: Sequence[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: box.centre)


def _face(face: Mapping[str, Any], in_order: Sequence[Box], cut_off: Sequence[Box], param: str) -> Box:
    if "index" in face:
        index = int(face["index"])
        if index < len(in_order):
            return in_order[index]
        if not in_order and cut_off:
            raise no_face.cropped(param=param)
        raise no_face.no_such_index(index, len(in_order), param=param)
    box = Box.from_json(face["box"])
    inside = [found for found in in_order if box.holds(found.centre)]
    if inside:
        return max(inside, key=lambda found: found.width)
    if any(box.holds(found.centre) for found in cut_off):
        raise no_face.cropped(param=param)
    if in_order:
        raise no_face.none_in_box(box.as_json(), len(in_order), param=param)
    return box


def _bounding_box(one: Box, other: Box) -> Box:
    left, top = min(one.x, other.x), min(one.y, other.y)
    return Box(left, top, max(one.right, other.right) - left, max(one.bottom, other.bottom) - top)


def _apart(regions: Sequence[Box], faces: Sequence[Box]) -> list[Box]:
    """Two regions cut off where they meet, half-way between their faces, on the axis on which the faces are
    farther apart, as measured in faces. (Shares of the height and of the width are not comparable.)
    """
    (x, y), (other_x, other_y) = faces[0].centre, faces[1].centre
    first, second = regions
    if abs(x - other_x) / (faces[0].width + faces[1].width) >= abs(y - other_y) / (faces[0].height + faces[1].height):
        left, right = sorted(faces, key=lambda face: face.centre[0])
        border = (left.right + right.x) / 2
        halves = [_left_of(first, border), _right_of(second, border)]
        return halves if x <= other_x else [_right_of(first, border), _left_of(second, border)]
    upper, lower = sorted(faces, key=lambda face: face.centre[1])
    border = (upper.bottom + lower.y) / 2
    halves = [_above(first, border), _below(second, border)]
    return halves if y <= other_y else [_below(first, border), _above(second, border)]


def _left_of(box: Box, x: float) -> Box:
    return Box(box.x, box.y, min(box.right, x) - box.x, box.height)


def _right_of(box: Box, x: float) -> Box:
    left = max(box.x, x)
    return Box(left, box.y, box.right - left, box.height)


def _above(box: Box, y: float) -> Box:
    return Box(box.x, box.y, box.width, min(box.bottom, y) - box.y)


def _below(box: Box, y: float) -> Box:
    top = max(box.y, y)
    return Box(box.x, top, box.width, box.bottom - top)
