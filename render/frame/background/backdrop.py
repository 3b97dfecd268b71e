"""What is behind a person: a color, an image, the old background out of focus, or the blurred edges of a source."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageColor

from render.engines.faces import RgbImage
from render.frame.background.mask_edges import Colors, Mask
from render.frame.fit import fit

FRINGE = 0.012  # as a share of the longer side: so close to a person the background is not trusted
STRONGEST = 0.06  # sigma of the strongest blur, as a share of the shorter side
# Of blurred edges: sigma as a share of the shorter side; share of the light that is kept.
EDGES_BLUR, EDGES_LIGHT = 0.055, 0.35
COARSE = 4.0  # sigma in pixels at which a blur is made: a stronger one is made on a smaller image


@dataclass(frozen=True)
class Placement:
    """Where an image lies in a larger one, in pixels."""

    top: int
    left: int
    height: int  # of the larger one
    width: int


def plain(color: str, height: int, width: int) -> RgbImage:
    """color: "#rrggbb"."""
    return np.full((height, width, 3), ImageColor.getrgb(color)[:3], np.uint8)


def image_file(path: Path, height: int, width: int) -> RgbImage:
    """The middle of the image, scaled to cover height x width."""
    with Image.open(path) as image:
        return np.array(fit(np.asarray(image.convert("RGB")), height, width))


def out_of_focus(image: RgbImage, mask: Mask, strength: float, placement: Placement) -> RgbImage:
    """The background of an image without its person, whose place is filled from around, so that no halo is left.

    mask: of the person. strength: 0 to 1. placement: where the image lies in the result; what is beside it is filled,
    too. The light is blurred, not the levels of 255, so that lamps stay bright.
    """
    rows, columns = image.shape[:2]
    sigma = STRONGEST * strength * min(placement.height, placement.width)
    shrink = min(1.0, COARSE / max(sigma, COARSE))
    side = 2 * max(1, round(FRINGE * max(rows, columns))) + 1
    weight = 1 - cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    light = np.square(image.astype(np.float32)) * weight[..., None]
    if shrink < 1:
        size = (max(1, round(columns * shrink)), max(1, round(rows * shrink)))
        light, weight = (cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (light, weight))
    below, beside = placement.height - placement.top - rows, placement.width - placement.left - columns
    top, bottom, left, right = (round(margin * shrink) for margin in (placement.top, below, placement.left, beside))
    light, weight = (
        cv2.copyMakeBorder(values, top, bottom, left, right, cv2.BORDER_CONSTANT) for values in (light, weight)
    )
    return _blurred(_filled(light, weight), sigma * shrink, 1.0, placement.height, placement.width)


def blurred_edges(image: RgbImage, height: int, width: int) -> RgbImage:
    """The image scaled to cover height x width, strongly blurred and darkened: what is put beside upright videos."""
    shrink = min(1.0, COARSE / (EDGES_BLUR * min(height, width)))
    small = fit(image, max(1, round(height * shrink)), max(1, round(width * shrink)))
    return _blurred(np.square(small.astype(np.float32)), COARSE, EDGES_LIGHT, height, width)


def _blurred(light: Colors, sigma: float, kept_light: float, height: int, width: int) -> RgbImage:
    if sigma > 0:
        light = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    levels = np.sqrt(np.maximum(light, 0) * np.float32(kept_light))
    enlarged = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)
    image: RgbImage = np.rint(enlarged).clip(0, 255).astype(np.uint8)
    return image


def _filled(light: Colors, weight: Mask) -> Colors:
    """Fill where the weight is below 1 from an image of half the size, which is filled likewise ("pull-push").

    light: already multiplied by the weight.
    """
    height, width = weight.shape
    if max(height, width) == 1:
        average: Colors = (light / np.maximum(weight[..., None], 1e-3)).astype(np.float32)
        return average
    half = ((width + 1) // 2, (height + 1) // 2)
    smaller = _filled(*(cv2.resize(values, half, interpolation=cv2.INTER_AREA) for values in (light, weight)))
    around = cv2.resize(smaller, (width, height)).reshape(light.shape)
    filled: Colors = light + (1 - weight[..., None]) * around
    return filled
