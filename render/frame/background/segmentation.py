"""Which pixels of an image show a person: a coarse mask by a network, moved to the image's own edges.

The network is MediaPipe's selfie segmentation, run by OpenCV's dnn module; see `render/engines/models/NOTICE.md`.
"""

import cv2
import numpy as np

from render.engines.faces import MODELS, RgbImage
from render.frame.background.mask_edges import Mask, at_edges, stretched

SIDE = 256  # pixels of the network's square input; in an image of 3 : 1 or wider it sees nobody
# The network errs differently on a mirrored, smaller view; the mean of both has fewer errors.
MARGIN = 0.1  # around the second view, above and beside it, as a share of the height and width

# Of the network's mask. Measured on 40 images: with a person, 26 to 83 % of the pixels are above SURE, which is at
# least 74 % of those above LIKELY. Without one (landscapes, texts, textures): at most 2.2 %, or at most 40 %. A cat or
# a coin may pass as a person, and is then cut out like one.
LIKELY, SURE = 0.5, 0.9
MIN_SURE_SHARE = 0.025  # of all pixels; a face that is 60 of 640 pixels wide, with its shoulders, covers 3 % or more
MIN_SURE_OF_LIKELY = 0.7

DOUBTFUL = (0.4, 0.9)  # levels of the network's mask, made 0 to 1: its border lies a little outside of the person
MIN_ISLAND = 0.05  # of the area of the largest person: a smaller piece is a bit of the background

# Smoothing in time: where neither a pixel's color nor its mask changes much, the mask follows slowly. A part that goes
# away is followed sooner than one that comes: it would be seen as a trail behind the person.
COMING, GOING = 0.1, 0.3  # share of a change that is followed in each frame
MOVED = (3, 15)  # levels of 255: below the first, a pixel has not moved; above the second it has
JUMPED = (0.35, 0.75)  # the same for the mask
NOISE = 1.5  # pixels: the sigma of the blur before colors are compared


class PersonSegmenter:
    """For one thread at a time: a dnn network keeps its inputs."""

    def __init__(self) -> None:
        # The classic engine, as for the models of faces.
        path = MODELS / "selfie_segmentation.tflite"
        self._network = cv2.dnn.readNetFromTFLite(str(path), engine=cv2.dnn.ENGINE_CLASSIC)

    def finds_person(self, image: RgbImage) -> bool:
        """Whether an H x W x 3 image shows somebody, or something that stands out like a person."""
        coarse = self._coarse(image)
        sure, likely = float((coarse > SURE).mean()), float((coarse > LIKELY).mean())
        return sure >= max(MIN_SURE_SHARE, MIN_SURE_OF_LIKELY * likely)

    def mask(self, image: RgbImage) -> Mask:
        """Of an H x W x 3 image."""
        views = (self._coarse(image) + self._second_view(image)) * np.float32(0.5)
        return at_edges(_without_islands(stretched(views, *DOUBTFUL)), image)

    def _second_view(self, image: RgbImage) -> Mask:
        above, beside = round(MARGIN * image.shape[0]), round(MARGIN * image.shape[1])
        mirrored = np.ascontiguousarray(image[:, ::-1])
        wider = cv2.copyMakeBorder(mirrored, above, 0, beside, beside, cv2.BORDER_REFLECT)
        top, left = round(SIDE * above / wider.shape[0]), round(SIDE * beside / wider.shape[1])
        inside = self._coarse(wider)[top:, left : SIDE - left]
        mask: Mask = cv2.resize(inside, (SIDE, SIDE))[:, ::-1]
        return mask

    def _coarse(self, image: RgbImage) -> Mask:
        """SIDE x SIDE."""
        self._network.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (SIDE, SIDE)))
        mask: Mask = self._network.forward().reshape(SIDE, SIDE)
        return mask


class SmoothedMasks:
    """The masks of a video without flicker. Each depends on the frames up to its own, and on no later one."""

    def __init__(self) -> None:
        self._last: tuple[Mask, Mask] | None = None  # the mask, and the grey image, 0 to 255

    def next(self, mask: Mask, image: RgbImage) -> Mask:
        """The smoothed mask of the next frame; all frames have one size."""
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), NOISE)
        if self._last is not None:
            last_mask, last_grey = self._last
            moved = cv2.dilate(stretched(np.abs(grey - last_grey), *MOVED), np.ones((5, 5), np.uint8))
            change = mask - last_mask
            jumped = stretched(np.abs(change), *JUMPED)
            slow = np.where(change > 0, np.float32(COMING), np.float32(GOING))
            mask = last_mask + change * np.maximum(slow, np.maximum(moved, jumped))
        self._last = mask, grey
        return mask


def _without_islands(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = areas >= MIN_ISLAND * areas[1:].max(initial=0)
    kept[0] = False  # the background
    cleaned: Mask = np.where(kept[labels], mask, np.float32(0)) if count > 2 else mask
    return cleaned
