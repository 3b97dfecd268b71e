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


def speaker_masks(source: Size, target: Size, boxes: Sequence[Box] | None = None) -> torch.Tensor:
    """3, height / 8, width / 8: left speaker, right speaker, background, each 0 or 1.

    source, target: height and width in pixels. boxes: of the two speakers, cut off at the edges of the image; by
    default each has one half. One speaker alone needs no masks: the model ignores them.

    Raises InvalidInput: `speakers_invalid` unless there are two boxes that leave some background; `speaker_outside`
    when nothing of a speaker is left after the crop; `image_invalid` when the image cannot be cropped.
    """
    height, width = source
    boxes = boxes or _halves(height, width)
    if len(boxes) != 2 or not all(isfinite(edge) for box in boxes for edge in box):
        raise InvalidInput("speakers_invalid", "There must be two boxes of four numbers each.")
    masks = torch.zeros(3, height, width)
    for person, box in enumerate(boxes):
        top, left, bottom, right = (max(0, int(edge)) for edge in box)
        masks[person, top:bottom, left:right] = 1
    masks[2] = (masks[:2].sum(dim=0) == 0).float()

    crop = plan_crop(height, width, target)
    masks = F.interpolate(masks[None], size=crop.resized, mode="nearest")
    masks = masks[:, :, crop.rows, crop.columns]
    latent = F.interpolate(masks, size=(target[0] // VAE_STRIDE, target[1] // VAE_STRIDE), mode="nearest")[0]
    latent = (latent > 0).float()
    # Checked as the transformer sees them: every second row and column.
    for person, name in enumerate(("left", "right")):
        if not latent[person, ::2, ::2].any():
            raise InvalidInput("speaker_outside", f"Nothing of the {name} speaker is left in the cropped image.")
    if not latent[2, ::2, ::2].any():  # The transformer divides by its size.
        raise InvalidInput("speakers_invalid", "The speakers' boxes leave no background in the image.")
    return latent


def _halves(height: int, width: int) -> list[Box]:
    half = width // 2
    top, bottom = int(MARGIN * height), int((1 - MARGIN) * height)
    left, right = int(MARGIN * half), int((1 - MARGIN) * half)
    return [(top, left, bottom, right), (top, int(MARGIN * half + half), bottom, int((1 - MARGIN) * half + half))]
