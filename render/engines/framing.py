"""Which part of a wide or tall source is shown: its middle, moved as little as possible to include the speakers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import av
import numpy as np
from PIL import Image

from render.engines import no_face
from render.engines.base import Crop, RenderInputs
from render.engines.faces import MAX_YAW, MIN_WIDTH, Face, FaceFinder, RgbImage
from render.engines.frame_size import source_size

# Room around a face, as shares of its height and width: hair above, the chin and some of the shoulders below.
ABOVE, BELOW, BESIDE = 0.6, 0.5, 0.5
# A face in the middle is shown, unless another one is more than twice as wide.
MIN_SHARE = 0.5
NEGLIGIBLE = 0.02  # of the source: when so little is cut off, no face is searched for
MAX_FACES = 6  # the widest; of these, the widest that fit together are shown, or the widest one
VIDEO_FRAMES, VIDEO_EVERY = 61, 12  # of a video, two frames a second of its first 2.4 seconds are searched


@dataclass(frozen=True)
class _Span:
    start: float  # pixels
    stop: float

    def holds(self, other: "_Span") -> bool:
        return self.start <= other.start and other.stop <= self.stop


def crop_with_faces(inputs: RenderInputs, height: int, width: int) -> Crop | None:
    """The part of the source to show at this size, in pixels of the source; None for its middle.

    The part includes one face for each voice; if there are not as many large ones, it is the middle. Raises
    ServiceError `no_face` when they are too far apart.
    """
    source_height, source_width = source_size(inputs)
    scale = max(height / source_height, width / source_width)
    rows, columns = min(source_height, round(height / scale)), min(source_width, round(width / scale))
    if rows * columns >= (1 - NEGLIGIBLE) * source_height * source_width:
        return None
    count = len(inputs.voices)
    finder = FaceFinder()
    for image in _images(inputs):
        faces = [face for face in finder.find(image) if face.width * scale >= MIN_WIDTH and abs(face.yaw) <= MAX_YAW]
        if len(faces) >= count:
            return _crop(faces, count, (source_height, source_width), (rows, columns))
    return None


def _images(inputs: RenderInputs) -> Iterator[RgbImage]:
    if inputs.video is not None:
        with av.open(str(inputs.video)) as container:
            for number, frame in enumerate(islice(container.decode(video=0), VIDEO_FRAMES)):
                if number % VIDEO_EVERY == 0:
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    else:
        assert inputs.portrait is not None, "exactly one of portrait and video is set"
        with Image.open(inputs.portrait) as image:
            yield np.asarray(image.convert("RGB"))


def _crop(faces: list[Face], count: int, source: tuple[int, int], shown: tuple[int, int]) -> Crop | None:
    """faces: the widest first. source, shown: height and width in pixels."""
    middle = [_Span((length - part) / 2, (length + part) / 2) for length, part in zip(source, shown, strict=True)]
    large = [face for face in faces if face.width >= MIN_SHARE * faces[0].width]
    in_the_middle = [face for face in large if all(map(_Span.holds, middle, _spans(face)))]
    if len(in_the_middle) >= count:
        return None
    for chosen in combinations(faces[:MAX_FACES], count):
        starts = [_start(chosen, axis, source[axis], shown[axis]) for axis in (0, 1)]
        if starts[0] is not None and starts[1] is not None:
            return starts[0], starts[1], *shown
    raise no_face.too_far_apart()


def _start(faces: Sequence[Face], axis: int, length: int, shown: int) -> int | None:
    """The pixel at which the part begins; None when the faces do not fit into it together. Of a single face that is
    larger than the part, its middle is shown. axis: 0 for rows, 1 for columns.
    """
    tight = _union([_spans(face)[axis] for face in faces])
    if len(faces) > 1 and tight.stop - tight.start > shown:
        return None
    roomy = _union([_with_room(face)[axis] for face in faces])
    if roomy.stop - roomy.start <= shown:
        start = min(max((length - shown) / 2, roomy.stop - shown), roomy.start)
    else:
        start = (tight.start + tight.stop - shown) / 2
    return round(min(max(start, 0), length - shown))


def _union(spans: list[_Span]) -> _Span:
    return _Span(min(span.start for span in spans), max(span.stop for span in spans))


def _spans(face: Face) -> tuple[_Span, _Span]:
    """The rows and the columns that the face covers."""
    left, top = map(float, face.points.min(axis=0))
    right, bottom = map(float, face.points.max(axis=0))
    return _Span(top, bottom), _Span(left, right)


def _with_room(face: Face) -> tuple[_Span, _Span]:
    rows, columns = _spans(face)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return (
        _Span(rows.start - ABOVE * height, rows.stop + BELOW * height),
        _Span(columns.start - BESIDE * width, columns.stop + BESIDE * width),
    )
