"""The edge of a person: its exact place in the image, and its colors without the background's light in them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.faces import RgbImage

Mask = NDArray[np.float32]  # H x W, 0 is the background and 1 a person
Colors = NDArray[np.float32]  # H x W x 3, 0 to 255

# The guided filter: in each window the mask is a linear function of the colors.
STEP = 3  # the functions are found on every third pixel and used on all
WINDOW = 0.012  # radius, as a share of the longer side
FLATNESS = 2e-3  # variance of colors (0 to 1) below which nothing is an edge
UNSURE = (0.1, 0.9)  # what is outside is surely background or surely a person
# If 90 to 100 % of a small window (its radius is this share of WINDOW's) is person, its center is person whatever its
# color. Else hair and ears that look like the wall get holes.
SMALLER, INSIDE = 1 / 3, (0.9, 1.0)

# Radii of the two windows in which the colors of a person are looked for, as shares of the longer side.
FAR, NEAR = 1 / 8, 1 / 110


def stretched(mask: Mask, low: float, high: float) -> Mask:
    """The levels from `low` to `high` become 0 to 1."""
    levels: Mask = np.clip((mask - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return levels


def at_edges(coarse: Mask, image: RgbImage) -> Mask:
    """A mask of any size enlarged to an H x W x 3 image, its edge moved to where the colors change.

    The guided filter with three colors, found on a smaller image (He, Sun and Tang, "Guided Image Filtering", 2013,
    and He and Sun, "Fast Guided Filter", 2015).
    """
    height, width = image.shape[:2]
    small = (max(1, width // STEP), max(1, height // STEP))
    guide = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask: Mask = cv2.resize(coarse, small, interpolation=cv2.INTER_LINEAR)
    radius = max(2, round(WINDOW * max(height, width) / STEP))

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _box_mean(values, radius)

    mean_guide, mean_mask = mean(guide), mean(mask)
    slope = _solved_3x3(
        mean(guide * guide) - mean_guide * mean_guide + np.float32(FLATNESS),
        # Green times blue, blue times red, red times green: each opposite to the color that is left out.
        mean(_products_of_others(guide)) - _products_of_others(mean_guide),
        mean(guide * mask[..., None]) - mean_guide * mean_mask[..., None],
    )
    offset = mean_mask - (slope * mean_guide).sum(axis=-1)
    inside = stretched(_box_mean(mask, max(1, round(SMALLER * radius))), *INSIDE)
    linear, inside = (
        cv2.resize(values, (width, height)) for values in (mean(np.dstack([slope / 255, offset])), inside)
    )
    # Added up by hand: numpy's sum over an axis of three is slow.
    red, green, blue = (linear[..., channel] * image[..., channel] for channel in range(3))
    fine = red + green + blue + linear[..., 3]
    mask = np.maximum(stretched(fine, *UNSURE), inside)
    return mask


def person_colors(image: RgbImage, mask: Mask) -> Colors:
    """The colors of a person alone: where the edge lets the background through, those of the person near it.

    Blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", 2021), first in a wide window, then in a
    narrow one.
    """
    small = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
    seen = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)[..., None]
    person, behind = seen, seen
    for share in (FAR, NEAR):
        person = person + weight * (seen - weight * person - (1 - weight) * behind)
        person, behind = _window_means(person, behind, weight, max(2, round(share * max(weight.shape))))
    weight, seen = mask[..., None], image.astype(np.float32)
    person, behind = (cv2.resize(colors, image.shape[1::-1]) for colors in (person, behind))
    colors: Colors = np.clip(person + weight * (seen - weight * person - (1 - weight) * behind), 0, 255)
    return colors


def _window_means(person: Colors, behind: Colors, weight: Mask, radius: int) -> tuple[Colors, Colors]:
    """The means of both in a window, each weighted by how much of it is seen. weight: H x W x 1."""
    covered = _box_mean(weight, radius)[..., None]
    nearly_none = np.float32(1e-5)
    return (
        _box_mean(person * weight, radius) / (covered + nearly_none),
        _box_mean(behind * (1 - weight), radius) / (1 - covered + nearly_none),
    )


def _box_mean(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    side = 2 * radius + 1
    means: NDArray[np.float32] = cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)
    return means


def _products_of_others(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    return colors[..., [1, 2, 0]] * colors[..., [2, 0, 1]]


def _solved_3x3(
    variance: NDArray[np.float32], covariance: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solve a symmetric 3 x 3 system in each pixel by Cramer's rule. All three are H x W x 3.

    A routine of linear algebra gives other last digits on other processors.
    """
    # The adjugate has the same form: its diagonal, and what is opposite to each element of it.
    diagonal = _products_of_others(variance) - covariance * covariance
    opposite = _products_of_others(covariance) - variance * covariance
    determinant = (
        variance[..., 0] * diagonal[..., 0]
        + covariance[..., 2] * opposite[..., 2]
        + covariance[..., 1] * opposite[..., 1]
    )
    # Row i of the adjugate times the target; the element between j and k is opposite to i.
    following, before = [1, 2, 0], [2, 0, 1]
    rows = (
        diagonal * target
        + opposite[..., before] * target[..., following]
        + opposite[..., following] * target[..., before]
    )
    return rows / determinant[..., None]
