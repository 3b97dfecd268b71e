"""Boxes in an image, as shares of its width and height. Plain arithmetic: web processes use it, too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

PixelBox = tuple[int, int, int, int]  # top, left, bottom, right
Crop = tuple[int, int, int, int]  # top, left, height, width: a part of the source, in its pixels


@dataclass(frozen=True)
class Box:
    """x and y: of the upper left corner. All four are shares of the image, from 0 to 1 for a box inside of it."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def from_json(cls, box: Mapping[str, float]) -> Self:
        """box: may have other keys, too."""
        return cls(box["x"], box["y"], box["width"], box["height"])

    def as_json(self) -> dict[str, float]:
        return {
            "x": round(self.x, 4),
            "y": round(self.y, 4),
            "width": round(self.width, 4),
            "height": round(self.height, 4),
        }

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def area(self) -> float:
        return self.width * self.height

    def holds(self, point: tuple[float, float]) -> bool:
        return self.x <= point[0] <= self.right and self.y <= point[1] <= self.bottom

    def overlap(self, other: "Box") -> float:
        """The share of the smaller of the two boxes that both cover."""
        width = min(self.right, other.right) - max(self.x, other.x)
        height = min(self.bottom, other.bottom) - max(self.y, other.y)
        smaller = min(self.area, other.area)
        return max(width, 0) * max(height, 0) / smaller if smaller else 0.0

    def expanded(self, *, above: float, below: float, beside: float) -> "Box":
        """A larger box. above, below: shares of its height; beside: share of its width, on each side."""
        return Box(
            self.x - beside * self.width,
            self.y - above * self.height,
            self.width * (1 + 2 * beside),
            self.height * (1 + above + below),
        )

    def in_pixels(self, height: int, width: int) -> PixelBox:
        """Of an image of this size, cut off at its edges."""
        top, bottom = (round(min(max(share, 0), 1) * height) for share in (self.y, self.bottom))
        left, right = (round(min(max(share, 0), 1) * width) for share in (self.x, self.right))
        return top, left, bottom, right

    def seen_from(self, frame: "Box") -> "Box":
        """The same box as shares of `frame`, which is a part of the image, or reaches beyond it."""
        return Box(
            (self.x - frame.x) / frame.width,
            (self.y - frame.y) / frame.height,
            self.width / frame.width,
            self.height / frame.height,
        )


WHOLE = Box(0.0, 0.0, 1.0, 1.0)
