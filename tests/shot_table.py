"""What is shown of pictures of many shapes: `python -m tests.shot_table` prints the table, without rendering."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from infinitetalk.buckets import Size
from render.engines.base import Engine
from render.engines.draft.engine import DraftEngine
from render.engines.infinitetalk import InfiniteTalkEngine
from render.frame.boxes import Box
from render.frame.shot import Shot, Source, plan_shot
from render.frame.size import ASPECT_RATIOS
from render.parameters import Parameters

PICTURES = {
    "1:1": (1200, 1200),
    "3:4": (900, 1200),
    "4:3": (1200, 900),
    "16:9": (1920, 1080),
    "9:16": (1080, 1920),
    "3:1": (1800, 600),
    "5:1": (2000, 400),
}  # width, height
PLACES = ("middle", "edge")
FITS = ("crop", "pad")
FACE = 0.3  # of the shorter side
FROM_EDGE = 0.05  # of the shorter side


@dataclass(frozen=True)
class Row:
    picture: str
    place: str  # of the face
    aspect_ratio: str
    fit: str
    face: Box
    draft: Shot
    final: Shot

    @property
    def seen(self) -> Box:
        """The face as shares of the frame."""
        return self.face.seen_from(self.draft.framing.shown)

    @property
    def is_face_inside(self) -> bool:
        return min(self.seen.x, self.seen.y) >= 0 and max(self.seen.right, self.seen.bottom) <= 1


def source_of(picture: str, place: str) -> Source:
    """A picture with one face, in its middle or at its right or lower edge."""
    width, height = PICTURES[picture]
    short = min(width, height)
    side, gap = FACE * short, FROM_EDGE * short
    left, top = (width - side) / 2, (height - side) / 2
    if place == "edge":
        left, top = (width - side - gap, top) if width >= height else (left, height - side - gap)
    return Source((height, width), (Box(left / width, top / height, side / width, side / height),))


def rows(resolution: str = "480p") -> Iterator[Row]:
    engines: list[Engine] = [DraftEngine(), InfiniteTalkEngine(socket="/none")]
    for picture, place, aspect_ratio, fit in product(PICTURES, PLACES, ASPECT_RATIOS, FITS):
        source = source_of(picture, place)
        parameters = Parameters(seed=1, aspect_ratio=aspect_ratio, fit=fit, resolution=resolution)
        draft, final = (
            plan_shot(source, parameters, [], num_voices=1, pixels=engine.pixels(resolution)) for engine in engines
        )
        yield Row(picture, place, aspect_ratio, fit, source.faces[0], draft, final)


def _size(size: Size) -> str:
    return f"{size[1]} x {size[0]}"


def main() -> None:
    print("picture  face    aspect_ratio  fit   draft       final       cut   face inside  face width  shown")
    for row in rows():
        shown = "padded" if row.draft.framing.is_padded else row.draft.crop or "middle"
        print(
            f"{row.picture:7}  {row.place:6}  {row.aspect_ratio:12}  {row.fit:4}  {_size(row.draft.size):10}  "
            f"{_size(row.final.size):10}  {row.draft.framing.cut:4.0%}  {'yes' if row.is_face_inside else 'NO':11}  "
            f"{row.seen.width * row.draft.size[1]:4.0f} pixels  {shown}"
        )


if __name__ == "__main__":
    main()
