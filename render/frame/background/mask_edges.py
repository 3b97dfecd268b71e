"""The edge of a person: its exact place in the picture, and its colours without the background's light in them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.faces import RgbImage

Mask = NDArray[np.float32]  # H x W, 0 is the background and 1 a person
Colors = NDArray[np.float32]  # H x W x 3, 0 to 255

# The guided filter: in each window the mask is a linear function of the colours.
STEP = 3  # the functions are found on every third pixel and used on all
WINDOW = 0.012  # radius, as a share of the longer side
FLATNESS = 2e-3  # variance of colours (0 to 1) below which nothing is an edge
UNSURE = (0.1, 0.9)  # what is outside is surely background or surely a person
# Share of a smaller window that shows a person, from which its middle does so too, whatever its colours: else hair and
# ears that look like the wall behind them would have holes.
SMALLER, INSIDE = 1 / 3, (0.9, 1.0)

# Radii of the two windows in which the colours of a person are looked for, as shares of the longer side.
FAR, NEAR = 1 / 8, 1 / 110


def stretched(mask: Mask, low: float, high: float) -> Mask:
    """The levels from `low` to `high` become 0 to 1."""
    levels: Mask = np.clip((mask - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return levels


def at_edges(coarse: Mask, image: RgbImage) -> Mask:
    """A mask of any size enlarged to an H x W x 3 picture, its edge moved to where the colours change.

    The guided filter with three colours, found on a smaller picture (He, Sun and Tang, "Guided Image Filtering", 2013,
    and He and Sun, "Fast Guided Filter", 2015).
    """
    height, width = image.shape[:2]
    small = (max(1, width // STEP), max(1, height // STEP))
    guide = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask: Mask = cv2.resize(coarse, small, interpolation=cv2.INTER_LINEAR)
    radius = max(2, round(WINDOW * max(height, width) / STEP))

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _box(values, radius)

    mean_guide, mean_mask = mean(guide), mean(mask)
    slope = _solved(
        mean(guide * guide) - mean_guide * mean_guide + np.float32(FLATNESS),
        # Green times blue, blue times red, red times green: each opposite to the colour that is left out.
        mean(_others(guide)) - _others(mean_guide),
        mean(guide * mask[..., None]) - mean_guide * mean_mask[..., None],
    )
    offset = mean_mask - (slope * mean_guide).sum(axis=-1)
    inside = stretched(_box(mask, max(1, round(SMALLER * radius))), *INSIDE)
    linear, inside = (
        cv2.resize(values, (width, height)) for values in (mean(np.dstack([slope / 255, offset])), inside)
    )
    # Added up by hand: numpy's sum over an axis of three is slow.
    red, green, blue = (linear[..., channel] * image[..., channel] for channel in range(3))
    fine = red + green + blue + linear[..., 3]
    mask = np.maximum(stretched(fine, *UNSURE), inside)
    return mask


def person_colors(image: RgbImage, mask: Mask) -> Colors:
    """The colours of a person alone: where the edge lets the background through, those of the person near it.

    Blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", 2021), first in a wide window, then in a
    narrow one.
    """
    small = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
    seen = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)[..., None]
    person, behind = seen, seen
    for share in (FAR, NEAR):
        person = person + weight * (seen - weight * person - (1 - weight) * behind)
        person, behind = _apart(person, behind, weight, max(2, round(share * max(weight.shape))))
    weight, seen = mask[..., None], image.astype(np.float32)
    person, behind = (cv2.resize(colors, image.shape[1::-1]) for colors in (person, behind))
    colors: Colors = np.clip(person + weight * (seen - weight * person - (1 - weight) * behind), 0, 255)
    return colors


def _apart(person: Colors, behind: Colors, weight: Mask, radius: int) -> tuple[Colors, Colors]:
    """The means of both in a window, each weighted by how much of it is seen. weight: H x W x 1."""
    covered = _box(weight, radius)[..., None]
    nearly_none = np.float32(1e-5)
    return (
        _box(person * weight, radius) / (covered + nearly_none),
        _box(behind * (1 - weight), radius) / (1 - covered + nearly_none),
    )


def _box(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    side = 2 * radius + 1
    means: NDArray[np.float32] = cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)
    return means


def _others(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    return colors[..., [1, 2, 0]] * colors[..., [2, 0, 1]]


def _solved(
    variance: NDArray[np.float32], covariance: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solve a symmetric 3 x 3 system in each pixel by Cramer's rule. All three are H x W x 3.

    A routine of linear algebra gives other last digits on other processors.
    """
    # The adjugate has the same form: its diagonal, and what is opposite to each element of it.
    diagonal = _others(variance) - covariance * covariance
    opposite = _others(covariance) - variance * covariance
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
