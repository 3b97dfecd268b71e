"""How blurred an image is at a place, so that what is drawn there can be blurred as much."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.faces import RgbImage

SHARP, SOFT = 0.5, 8.0  # pixels; the range of the results
AGAIN = 1.5  # pixels by which the image is blurred once more for the measurement
EDGES = 0.97  # quantile of the gradient: only edges tell how sharp an image is


def blur_of(image: RgbImage) -> tuple[float, float]:
    """Standard deviations of the blur across and down, in pixels; of motion across, only the first one grows.

    A step edge blurred by a has a gradient of 1/a, and blurred again by b one of 1/sqrt(a^2 + b^2): their ratio gives a
    (Zhuo and Sim, "Defocus map estimation from a single image", 2011).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    again = cv2.GaussianBlur(grey, (0, 0), AGAIN)
    return _along(grey, again, 1, 0), _along(grey, again, 0, 1)


def _along(grey: NDArray[np.float32], again: NDArray[np.float32], x: int, y: int) -> float:
    once, twice = (np.abs(cv2.Scharr(of, cv2.CV_32F, x, y)) for of in (grey, again))
    rank = int(EDGES * once.size)
    strong = once >= np.partition(once, rank, axis=None)[rank]
    ratio = float(once[strong].sum() / max(float(twice[strong].sum()), 1.0))
    return float(np.clip(AGAIN / np.sqrt(max(ratio**2 - 1, 1e-3)), SHARP, SOFT))
