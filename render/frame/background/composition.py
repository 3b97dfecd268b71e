"""How a source becomes a frame: which part of it is shown, what fills the rest, and what is behind the person."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from render.engines.faces import RgbImage
from render.frame.background import backdrop
from render.frame.background.backdrop import Placement
from render.frame.background.mask_edges import Mask, person_colors
from render.frame.boxes import Crop
from render.frame.fit import fit

KEEP, BLUR = "keep", "blur"


@dataclass(frozen=True)
class Composition:
    size: tuple[int, int]  # height and width of the frame in pixels
    crop: Crop | None = None  # the part of the source that is shown; None: its middle, or all of it with "pad"
    fit: Literal["crop", "pad"] = "crop"  # what does not fit is cut off, or the source is shown whole
    # "#rrggbb"; None: the replaced background goes on beside the source; with a kept one, the blurred source is there.
    pad_color: str | None = None
    background: str | Path = KEEP  # "keep", "blur", "#rrggbb", or the file of an image
    blur: float = 0.5  # strength of "blur", 0 to 1

    @property
    def keeps_background(self) -> bool:
        return self.background == KEEP

    def lies_at_bottom(self, *, is_cut_out: bool) -> bool:
        """Whether a padded source lies at the bottom of the frame, and not in its middle: where another background goes
        on beside it, a person who is cut off at the chest would float. is_cut_out: whether the person is cut out.
        """
        return is_cut_out and self.pad_color is None


class FrameComposer:
    """Makes the frames of one source."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        self._height, self._width = composition.size
        self._still: RgbImage | None = None  # the backdrop, when it is the same in all frames

    def shown(self, image: RgbImage) -> RgbImage:
        """The part of an H x W x 3 source that the frame shows, in the frame's pixels: at most as large as it."""
        if self._composition.fit == "crop":
            return np.ascontiguousarray(fit(image, self._height, self._width, self._composition.crop))
        if self._composition.crop is not None:
            top, left, rows, columns = self._composition.crop
            image = np.ascontiguousarray(image[top : top + rows, left : left + columns])
        scale = min(self._height / image.shape[0], self._width / image.shape[1])
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def frame(self, shown: RgbImage, mask: Mask | None = None) -> RgbImage:
        """The frame of a source. shown: by the method above. mask: its person's; None: the background is kept."""
        rows, columns = shown.shape[:2]
        has_border = (rows, columns) != self._composition.size
        if mask is None and not has_border:
            return shown
        at_bottom = self._composition.lies_at_bottom(is_cut_out=mask is not None)
        top, left = (self._height - rows) // (1 if at_bottom else 2), (self._width - columns) // 2
        pad_color = self._composition.pad_color if has_border else None
        if mask is None:
            size = self._composition.size
            frame = backdrop.plain(pad_color, *size) if pad_color else backdrop.blurred_edges(shown, *size)
        elif pad_color:
            frame = backdrop.plain(pad_color, *self._composition.size)
            shown = _laid_over(self._behind(shown, mask, Placement(0, 0, rows, columns)), shown, mask)
        else:
            frame = self._behind(shown, mask, Placement(top, left, *self._composition.size))
            shown = _laid_over(frame[top:, left : left + columns], shown, mask)
        frame[top : top + rows, left : left + columns] = shown
        return frame

    def _behind(self, shown: RgbImage, mask: Mask, placement: Placement) -> RgbImage:
        background, size = self._composition.background, (placement.height, placement.width)
        if background == BLUR:
            return backdrop.out_of_focus(shown, mask, self._composition.blur, placement)
        if self._still is None or self._still.shape[:2] != size:
            if isinstance(background, Path):
                self._still = backdrop.image_file(background, *size)
            else:
                self._still = backdrop.plain(background, *size)
        return self._still.copy()


def _laid_over(behind: RgbImage, shown: RgbImage, mask: Mask) -> RgbImage:
    weight = mask[..., None]
    mixed = person_colors(shown, mask) * weight + behind * (1 - weight)
    frame: RgbImage = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return frame
