"""Masks of two speakers, cropped as the image and scaled to the size of the latents."""

from collections.abc import Sequence
from math import isfinite

import torch
from torch.nn import functional as F

from infinitetalk.buckets import Size
from infinitetalk.conditioning.image import plan_crop
from infinitetalk.errors import InvalidInput

Box = tuple[float, float, float, float]  # first row, first column, last row, last column in source pixels
MARGIN = 0.05  # share of a half image that is left free around a speaker without a box
VAE_STRIDE = 8
BACKGROUND = 2  # in the map of owners, where the speakers are 0 and 1


def speaker_masks(source: Size, target: Size, boxes: Sequence[Sequence[Box]] | None = None) -> torch.Tensor:
    """3, height / 8, width / 8: first speaker, second speaker, background, each 0 or 1, and one of them is 1.

    source, target: height and width in pixels. boxes: one sequence for each of the two speakers, whose mask is the
    union of its boxes; they are cut off at the edges of the image, and may leave no background. By default the first
    speaker has the left half, the second the right one. One speaker alone needs no masks: the model ignores them.

    Where boxes overlap, the pixel belongs to the smallest of them; of equally large ones, to the second speaker's. So
    the first speaker may be given the whole image, and the faces of the people who keep still remain the second's.

    Raises InvalidInput: `speakers_invalid` unless there are boxes for two speakers; `speaker_outside` when nothing of a
    speaker is left after the crop; `image_invalid` when the image cannot be cropped.
    """
    height, width = source
    boxes = _halves(height, width) if boxes is None else boxes
    if len(boxes) != 2 or not all(isfinite(edge) for speaker in boxes for box in speaker for edge in box):
        raise InvalidInput("speakers_invalid", "There must be boxes of four numbers each for two speakers.")
    owners = torch.full(source, float(BACKGROUND))
    areas = [(_inside(box, height, width), speaker) for speaker in (0, 1) for box in boxes[speaker]]
    for (rows, columns), speaker in sorted(areas, key=lambda area: -_pixels(*area[0])):
        owners[rows, columns] = speaker

    crop = plan_crop(height, width, target)
    owners = F.interpolate(owners[None, None], size=crop.resized, mode="nearest")[:, :, crop.rows, crop.columns]
    owners = F.interpolate(owners, size=(target[0] // VAE_STRIDE, target[1] // VAE_STRIDE), mode="nearest")[0]
    masks = (owners == torch.arange(3)[:, None, None]).float()
    # Checked as the transformer sees them: every second row and column.
    for speaker, name in enumerate(("first", "second")):
        if not masks[speaker, ::2, ::2].any():
            raise InvalidInput("speaker_outside", f"Nothing of the {name} speaker is left in the cropped image.")
    return masks


def _inside(box: Box, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the box, cut off at the edges of the image."""
    top, left, bottom, right = (max(0, int(edge)) for edge in box)
    return slice(top, min(bottom, height)), slice(left, min(right, width))


def _pixels(rows: slice, columns: slice) -> int:
    return max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)


def _halves(height: int, width: int) -> list[list[Box]]:
    half = width // 2
    top, bottom = int(MARGIN * height), int((1 - MARGIN) * height)
    left, right = int(MARGIN * half), int((1 - MARGIN) * half)
    return [[(top, left, bottom, right)], [(top, int(MARGIN * half + half), bottom, int((1 - MARGIN) * half + half))]]
