"""A picture of three people, and requests that choose among them."""

import numpy as np
from PIL import Image

from render.frame.boxes import Box

HEIGHT, WIDTH = 304, 912  # pixels
HEADS = [(16, 220, False), (310, 272, True), (660, 248, False)]  # left edge, size, mirrored; the middle one is widest
GREY = (96, 110, 120)


def resized(head: np.ndarray, size: int, *, mirrored: bool) -> np.ndarray:
    turned = np.ascontiguousarray(head[:, ::-1]) if mirrored else head
    return np.asarray(Image.fromarray(turned).resize((size, size)))


def crowd_of(head: np.ndarray) -> np.ndarray:
    """Three people beside each other."""
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    for left, size, mirrored in HEADS:
        picture[HEIGHT - size :, left : left + size] = resized(head, size, mirrored=mirrored)
    return picture


def by_index(*indices: int) -> list[dict]:
    return [{"audio": number, "face": {"index": index}} for number, index in enumerate(indices, start=1)]


def by_box(*boxes: Box) -> list[dict]:
    return [{"audio": number, "face": {"box": box.as_json()}} for number, box in enumerate(boxes, start=1)]
