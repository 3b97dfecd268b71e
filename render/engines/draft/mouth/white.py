"""What white looks like in the light that falls on a face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.faces import Face, RgbImage

# Face Mesh's indices, around each eye.
EYES = ([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7],
        [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249])  # fmt: skip


def white_of(image: RgbImage, face: Face) -> NDArray[np.float32]:
    """RGB: the mean of the brightest quarter of the eyes' pixels."""
    pixels = []
    for eye in EYES:
        left, top, width, height = cv2.boundingRect(np.round(face.points[eye]).astype(np.int32))
        left, top = max(left, 0), max(top, 0)
        window = image[top : top + height, left : left + width]
        mask = np.zeros(window.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(face.points[eye] - (left, top)).astype(np.int32)], 255)
        pixels.append(window[mask > 0].astype(np.float32))
    shown = np.concatenate(pixels)
    score = shown.min(axis=-1)  # high only for what is bright in every channel
    white: NDArray[np.float32] = shown[score >= np.percentile(score, 75)].mean(axis=0)
    return np.clip(white, 60, 235)
