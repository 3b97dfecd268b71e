"""Where each of two speakers is: masks that follow the picture through its crop to the size of the latents."""

from collections.abc import Sequence
from math import isfinite

import torch
from torch.nn import functional as F

from infinitetalk.conditioning.image import Size, plan_crop
from infinitetalk.errors import InvalidInput

Box = tuple[float, float, float, float]  # first row, first column, last row, last column in source pixels
MARGIN = 0.05  # of a half of the picture, left free around a speaker without a box
VAE_STRIDE = 8


def speaker_masks(source: Size, target: Size, boxes: Sequence[Box] | None = None) -> torch.Tensor:
    """3, height / 8, width / 8: left speaker, right speaker, background, each 0 or 1.

    boxes: of the two speakers; parts outside the picture do not count. Without boxes, each has half of the picture.
    (One speaker alone needs no masks: the model does not look at them.)

    Raises InvalidInput: `speakers_invalid` for boxes that are no boxes of two speakers, or leave no background;
    `speaker_outside` when nothing of a speaker is left after the crop; `image_invalid` when it cannot be cropped.
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
    masks = masks[:, :, crop.top : crop.top + target[0], crop.left : crop.left + target[1]]
    latent = F.interpolate(masks, size=(target[0] // VAE_STRIDE, target[1] // VAE_STRIDE), mode="nearest")[0]
    latent = (latent > 0).float()
    # As the model sees them: every second row and column.
    for person, name in enumerate(("left", "right")):
        if not latent[person, ::2, ::2].any():
            raise InvalidInput("speaker_outside", f"Nothing of the {name} speaker is left in the cropped picture.")
    if not latent[2, ::2, ::2].any():  # The model would divide by its size.
        raise InvalidInput("speakers_invalid", "The speakers' boxes leave nothing of the picture around them.")
    return latent


def _halves(height: int, width: int) -> list[Box]:
    half = width // 2
    top, bottom = int(MARGIN * height), int((1 - MARGIN) * height)
    left, right = int(MARGIN * half), int((1 - MARGIN) * half)
    return [(top, left, bottom, right), (top, int(MARGIN * half + half), bottom, int((1 - MARGIN) * half + half))]
