"""Which part of the source is shown in a frame of another shape: its middle, moved as little as the speakers need.

Plain arithmetic on boxes, so that a dry run tells what a render will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from infinitetalk.buckets import Size
from render.engines import no_face
from render.frame.boxes import Box, Crop

# Room around a face, as shares of its height and width: hair above, the chin and some of the shoulders below. It makes
# the view look well; `render.frame.speakers` has other values, of how far the head and the neck move with a voice.
ABOVE, BELOW, BESIDE = 0.6, 0.5, 0.5
# A face in the middle is shown, unless another one is more than twice as wide.
MIN_SHARE = 0.5
# Of the source: if less than this is cut off, the middle is shown wherever the faces are, and nobody is warned.
NEGLIGIBLE = 0.02
ROUNDING = 1e-9
MAX_FACES = 6  # the widest; of these, the widest that fit together are shown, or the widest one


@dataclass(frozen=True)
class Framing:
    """How the source becomes a frame."""

    crop: Crop | None  # the part that is shown, in pixels of the source; None: its middle
    shown: Box  # the same as shares of the source; beyond it where the frame is padded

    @property
    def cut(self) -> float:
        """The share of the source that is not shown."""
        return 1 - min(self.shown.width, 1) * min(self.shown.height, 1)

    def width_in_frame(self, face: Box, size: Size) -> float:
        """In pixels of a frame of this size. face: as shares of the source."""
        return face.seen_from(self.shown).width * size[1]

    @property
    def is_padded(self) -> bool:
        return self.shown.width > 1 + NEGLIGIBLE or self.shown.height > 1 + NEGLIGIBLE


def choose_framing(source: Size, size: Size, faces: Sequence[Box], count: int, *, fit: str) -> Framing:
    """How a source becomes a frame. source, size: height and width in pixels; fit: `crop` or `pad`.

    faces: those that may have to be shown, the widest first. Of these `count` are shown, if there are as many: those in
    the middle, else the widest that fit together. Raises ServiceError `no_face` when they are too far apart.
    """
    scale = max(size[0] / source[0], size[1] / source[1])
    rows, columns = min(source[0], round(size[0] / scale)), min(source[1], round(size[1] / scale))
    middle = Box(
        (source[1] - columns) / 2 / source[1], (source[0] - rows) / 2 / source[0], columns / source[1], rows / source[0]
    )
    if middle.area >= 1 - NEGLIGIBLE:
        return Framing(None, middle)
    if fit == "pad":
        scale = min(size[0] / source[0], size[1] / source[1])
        width, height = size[1] / scale / source[1], size[0] / scale / source[0]
        return Framing(None, Box((1 - width) / 2, (1 - height) / 2, width, height))
    if len(faces) < count or _shows(middle, faces, count):
        return Framing(None, middle)
    for chosen in combinations(faces[:MAX_FACES], count):
        top = _start([_rows(face) for face in chosen], source[0], rows)
        left = _start([_columns(face) for face in chosen], source[1], columns)
        if top is not None and left is not None:
            shown = Box(left / source[1], top / source[0], columns / source[1], rows / source[0])
            return Framing((top, left, rows, columns), shown)
    raise no_face.too_far_apart()


def _shows(middle: Box, faces: Sequence[Box], count: int) -> bool:
    """Whether the middle shows as many faces, none of them much smaller than the widest of all."""
    inside = [
        face
        for face in faces
        if face.width >= MIN_SHARE * faces[0].width
        and _is_within(_rows(face), (middle.y, middle.bottom))
        and _is_within(_columns(face), (middle.x, middle.right))
    ]
    return len(inside) >= count


def _is_within(spans: "tuple[Span, Span]", shown: "Span") -> bool:
    """Whether a face is shown on one axis: with room around it, as far as the source has it, if that fits."""
    tight, roomy = spans
    start, stop = roomy if roomy[1] - roomy[0] <= shown[1] - shown[0] else tight
    return shown[0] <= max(start, 0.0) + ROUNDING and min(stop, 1.0) - ROUNDING <= shown[1]


Span = tuple[float, float]  # start and end on one axis, as shares of the source


def _rows(face: Box) -> tuple[Span, Span]:
    """What the face covers, and the same with room around it."""
    return (face.y, face.bottom), (face.y - ABOVE * face.height, face.bottom + BELOW * face.height)


def _columns(face: Box) -> tuple[Span, Span]:
    return (face.x, face.right), (face.x - BESIDE * face.width, face.right + BESIDE * face.width)


def _start(spans: list[tuple[Span, Span]], length: int, shown: int) -> int | None:
    """The pixel at which the part begins; None when the faces do not fit into it together. Of a single face that is
    larger than the part, its middle is shown. length, shown: of the source and of the part, in pixels.
    """
    start, stop = (length * edge for edge in _union([tight for tight, _ in spans]))
    if len(spans) > 1 and stop - start > shown:
        return None
    roomy_start, roomy_stop = (length * edge for edge in _union([roomy for _, roomy in spans]))
    if roomy_stop - roomy_start <= shown:
        begin = min(max((length - shown) / 2, roomy_stop - shown), roomy_start)
    else:
        begin = (start + stop - shown) / 2
    return round(min(max(begin, 0), length - shown))


def _union(spans: list[Span]) -> Span:
    return min(start for start, _ in spans), max(stop for _, stop in spans)
