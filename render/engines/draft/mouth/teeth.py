"""The teeth between the lips: those that the image shows, or else a drawn row.

The upper ones belong to the skull and stand still, the lower ones travel with the jaw.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.draft.mouth.lips import STATIONS, Floats, Lips
from render.engines.faces import RgbImage

IVORY = np.array([1.2, 1.116, 0.984], np.float32)  # times the white of the eyes, which is bluish and in shade

# Seen teeth. A row that begins in the upper part of the gap is of the upper jaw.
DIM = 0.45  # of the front teeth's light: the darkest tooth
UPPER_PART = 0.35
FEWEST = 0.015  # share of the gap: a smaller spot is a reflection
NARROWEST = 0.25  # share of the stations: a row that shows less is drawn instead
CORNER_SHADE = 0.1  # mouth widths: how high the image's own shade beside the last tooth is kept
HIDDEN = 0.02  # mouth widths: teeth that end so near the lower lip end behind it
FINE = np.linspace(-1, 1, 81, dtype=np.float32)  # values of u
DEPTHS = np.linspace(0.02, 0.98, 40, dtype=np.float32)  # shares of the gap, from the upper lip

# Drawn teeth, in mouth widths. Only their tips show: a row of whole teeth in a small gap looks like a grey slab.
TIPS_BELOW_SEAM = 0.062
TIPS_IN_A_SMILE = 0.035  # added for a full grin
ARCH_HALF_WIDTH = 0.3
TOOTH = 0.085


@dataclass(frozen=True)
class Teeth:
    """Colors (H x W x 3, RGB) and opacity (H x W x 1, from 0 to 1) of one row, for a box of the image."""

    colors: Floats
    opacity: Floats


def find_rows(image: RgbImage, lips: Lips) -> tuple[Floats | None, Floats | None]:
    """The tips of the upper teeth and of the lower ones, if an image shows them: by station of FINE, share of the gap.

    Between teeth and the lip that they stand in lie gums and shade: they belong to the teeth. So does the shade between
    the last upper tooth and the corner.
    """
    top, bottom = _at(FINE, lips.upper_inner), _at(FINE, lips.lower_inner)
    upper, lower = _rows(image, lips, top, bottom)
    ends = np.minimum(CORNER_SHADE / np.maximum(bottom - top, 0.01), 1)
    return (
        _along(upper, np.where(upper, DEPTHS, 0).max(axis=1), ends) if upper.any() else None,
        _along(lower, np.where(lower, DEPTHS, 1).min(axis=1), np.ones_like(top)) if lower.any() else None,
    )


def tooth_color(image: RgbImage, lips: Lips, tips: Floats) -> Floats:
    """RGB, of the upper front teeth that an image shows. tips: as `find_rows`."""
    front = np.s_[25:56]
    top, bottom = _at(FINE, lips.upper_inner)[front], _at(FINE, lips.lower_inner)[front]
    middle = (top + 0.6 * tips[front] * (bottom - top)).astype(np.float32)
    return np.median(lips.sample(image, FINE[None, front], middle[None]), axis=(0, 1))


def seen_upper(window: RgbImage, lips: Lips, u: Floats, v: Floats, tips: Floats, blur: float) -> Teeth:
    """window, u, v: a box of the image. tips: as `find_rows`. blur: of the image, in pixels."""
    edge = blur / lips.axes.width
    top, bottom = _at(FINE, lips.upper_inner), _at(FINE, lips.lower_inner)
    tips = top + tips * (bottom - top)
    behind = bottom + np.float32(min(1.5 * edge, 0.03))  # the lip hides their tips
    tips = np.where(bottom - tips < HIDDEN + 1.5 * edge, behind, tips)
    return _teeth(window, lips, u, v, _faded(_at(u, tips, FINE) - v, edge), edge)


def seen_lower(window: RgbImage, lips: Lips, u: Floats, v: Floats, tips: Floats, blur: float) -> Teeth:
    edge = blur / lips.axes.width
    top, bottom = _at(FINE, lips.upper_inner), _at(FINE, lips.lower_inner)
    return _teeth(window, lips, u, v, _faded(v - _at(u, top + tips * (bottom - top), FINE), edge), edge)


def _rows(image: RgbImage, lips: Lips, top: Floats, bottom: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """By station and depth in the gap: whether there is a tooth of the upper jaw, and one of the lower jaw."""
    along = np.repeat(FINE[:, None], len(DEPTHS), axis=1)
    rgb = lips.sample(image, along, (top[:, None] + (bottom - top)[:, None] * DEPTHS).astype(np.float32))
    pale = np.where(DEPTHS < 0.5, lips.upper_pale(rgb), lips.lower_pale(rgb))
    bright = np.where(DEPTHS < 0.5, lips.upper_pale.tooth_light, lips.lower_pale.tooth_light)
    found = (pale > 0.5) & (rgb.mean(axis=-1) > DIM * bright) & ((bottom - top) > 0.02)[:, None]
    # An edge between lip and cavity has the color of teeth: thin lines are none.
    kept = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(kept)
    upper, lower = np.zeros_like(found), np.zeros_like(found)
    for label in range(1, len(boxes)):
        if boxes[label, cv2.CC_STAT_AREA] >= FEWEST * found.size:
            spot = labels == label
            (upper if boxes[label, cv2.CC_STAT_LEFT] < UPPER_PART * len(DEPTHS) else lower)[spot] = True
    for row in (upper, lower):
        row &= row.any(axis=1).mean() > NARROWEST
    return upper, lower


def _along(row: NDArray[np.bool_], depth: Floats, ends: Floats) -> Floats:
    """The edge of a row at the stations: gaps between its teeth are bridged, and beyond the row it runs to `ends`."""
    shown = np.flatnonzero(row.any(axis=1))
    at = np.arange(len(row))
    bridged = np.interp(at, shown, depth[shown])
    outside = np.clip(np.maximum(shown[0] - at, at - shown[-1]) / 3, 0, 1)
    edge = (bridged + (ends - bridged) * outside).astype(np.float32)
    return cv2.GaussianBlur(edge[:, None], (0, 0), 0.8, borderType=cv2.BORDER_REFLECT)[:, 0]


def _faded(distance: Floats, edge: float) -> Floats:
    return np.clip(distance / max(3.0 * edge, 0.01) + 0.5, 0, 1).astype(np.float32)


def _teeth(window: RgbImage, lips: Lips, u: Floats, v: Floats, opacity: Floats, edge: float) -> Teeth:
    """The colors at a lip's edge are mixed with the lip's: further inside they are the teeth's own."""
    top, bottom = _at(u, lips.upper_inner), _at(u, lips.lower_inner)
    low, high = top + 1.5 * edge, bottom - 1.5 * edge
    safe = np.where(low < high, np.clip(v, low, high), (low + high) / 2)
    return Teeth(_pulled(window.astype(np.float32), lips, v, safe), opacity[..., None])


def drawn_teeth(white: Floats, lips: Lips, seam: Floats, smile: float, u: Floats, v: Floats, blur: float) -> Teeth:
    """A row of upper incisors. seam: values of v at the stations, where the lips meet when they close."""
    seam = _at(u, seam)
    half = u / 2  # mouth widths
    arch = np.clip(np.abs(half) / ARCH_HALF_WIDTH, 0, 1)
    height = TIPS_BELOW_SEAM + TIPS_IN_A_SMILE * smile
    tips = seam + height * (1 - 0.55 * arch**2)
    # Rounded tips and faint gaps between the teeth.
    phase = np.abs(np.mod(half / TOOTH, 1) - 0.5) * 2  # 0 in the middle of a tooth, 1 at its sides
    tips = tips - 0.012 * phase**3
    mask = np.clip((tips - v) / 0.02 + 0.5, 0, 1) * np.clip((1 - arch) / 0.4, 0, 1)
    # Darker to the sides, where the arch turns back, and towards the gums, in the lip's shadow.
    depth = np.clip((v - seam + 0.03) / (height + 0.03), 0, 1)
    body = (1 - 0.55 * arch**2) * (1 - 0.22 * phase**8) * (0.75 + 0.25 * depth)
    colors = (white * IVORY * body[..., None]).astype(np.float32)
    soft = max(0.007 * lips.axes.width, 0.6 * blur)
    opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), soft)
    return Teeth(cv2.GaussianBlur(colors, (0, 0), soft), opacity[..., None])


def _at(u: Floats, contour: Floats, stations: Floats = STATIONS) -> Floats:
    return np.interp(u, stations, contour).astype(np.float32)


def _pulled(rgb: Floats, lips: Lips, v: Floats, source: Floats) -> Floats:
    """The colors of a box when each pixel at v takes the one at `source`, which is above or below it."""
    rows, columns = np.mgrid[0 : v.shape[0], 0 : v.shape[1]].astype(np.float32)
    shift = (source - v).astype(np.float32) * np.float32(lips.axes.width)
    x, y = columns + shift * lips.axes.down[0], rows + shift * lips.axes.down[1]
    return cv2.remap(rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
