"""The inside of a mouth: the teeth that the image shows, or else drawn ones, the tongue and the dark."""

import cv2
import numpy as np

from render.engines.draft.mouth.shape import LIP_MARGIN, LOWER_INNER, STATIONS, UPPER_INNER, Floats, MouthShape
from render.engines.draft.warp_grid import Box
from render.engines.faces import Face, RgbImage

EYES = ([33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7],
        [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249])  # fmt: skip

IVORY = np.array([1.0, 0.93, 0.82], np.float32)  # times the white of the eyes, which is bluish
DARK = np.array([34, 12, 12], np.float32)
TONGUE = np.array([150, 72, 70], np.float32)

CONTACT_GAP = 0.03  # mouth widths: closer lips shade each other

# Drawn teeth, in mouth widths. Only their tips show: a row of whole teeth in a small gap looks like a grey slab.
TIPS_BELOW_SEAM = 0.062
TIPS_IN_A_SMILE = 0.035  # added for a full grin
ARCH_HALF_WIDTH = 0.3
TOOTH = 0.085


class MouthInterior:
    def __init__(self, image: RgbImage, face: Face, shape: MouthShape, region: Box) -> None:
        left, top, right, bottom = region
        self._shape = shape
        self._width = shape.axes.width
        self._origin = np.array([left, top], np.float32)
        x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
        self._u, self._v = shape.axes.to_mouth(np.stack([x, y], axis=-1))
        white = _white(image, face)
        light = float(white.max() / 255)
        self._dark, self._tongue = DARK * light, TONGUE * light
        if shape.is_open:
            self._teeth, self._teeth_mask = self._seen_teeth(image, face, region)
        else:
            self._teeth, self._teeth_mask = self._drawn_teeth(white)

    def draw(self, face: RgbImage, upper_edge: Floats, lower_edge: Floats) -> None:
        """Fill the gap between the edges of the lips. face: the region's pixels, changed. Edges: N x 2, its pixels."""
        gap = (lower_edge - upper_edge) @ self._shape.axes.down / self._width
        widest = float(gap.max())
        if self._shape.is_open and widest < CONTACT_GAP:
            self._shade_contact(face, np.mean([upper_edge, lower_edge], axis=0), 1 - max(widest, 0) / CONTACT_GAP)
        if widest < 0.004:
            return
        outline = np.concatenate([upper_edge, lower_edge[::-1]])
        margin = int(0.08 * self._width) + 2
        left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - margin, 0)
        right, bottom = np.ceil(outline.max(axis=0)).astype(int) + margin
        box = np.s_[top:bottom, left:right]

        mask = np.zeros(face[box].shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round((outline - (left, top)) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.01 * self._width, 0.6)).astype(np.float32) / 255
        deep = cv2.GaussianBlur(mask, (0, 0), max(0.035 * self._width, 1.0)).astype(np.float32) / 255

        # The tongue lies at the lower lip, lit from the front; the palate above it is dark.
        _, lowest = self._shape.axes.to_mouth(lower_edge[len(lower_edge) // 2] + self._origin)
        rise = np.maximum(lowest - self._v[box], 0) / 0.16
        tongue = np.exp(-(rise**2) - (self._u[box] / 0.75) ** 2) * np.clip(widest / 0.2, 0, 1)
        inside = self._dark + (self._tongue - self._dark) * (0.55 * tongue)[..., None]
        teeth = self._teeth_mask[box][..., None]
        inside += (self._teeth[box] - inside) * teeth

        # The lips shade the inside, most of all in a narrow gap.
        shade = 0.45 + 0.55 * np.clip(1.5 * deep, 0, 1)
        inside *= shade[..., None]
        opacity = (soft * np.clip(widest / 0.02, 0, 1))[..., None]
        face[box] = np.clip(face[box] * (1 - opacity) + inside * opacity + 0.5, 0, 255).astype(np.uint8)

    def _shade_contact(self, face: RgbImage, seam: Floats, share: float) -> None:
        """Draw the shadow line between lips that are open in the image and closed in this frame."""
        line = np.zeros(face.shape[:2], np.uint8)
        thickness = max(round(0.012 * self._width), 1)
        cv2.polylines(line, [np.round(seam[2:-2] * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
        shade = cv2.GaussianBlur(line, (0, 0), max(0.01 * self._width, 0.6)).astype(np.float32) / 255
        face[:] = (face * (1 - 0.4 * share * shade[..., None])).astype(np.uint8)

    def _seen_teeth(self, image: RgbImage, face: Face, region: Box) -> tuple[Floats, Floats]:
        """Colors and mask of the image's teeth: the bright, pale pixels between the lips, extended under the lips."""
        left, top, right, bottom = region
        window = image[top:bottom, left:right].astype(np.float32)
        corners = face.points[UPPER_INNER + LOWER_INNER[-2:0:-1]] - self._origin
        inside = np.zeros(window.shape[:2], np.uint8)
        cv2.fillPoly(inside, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        light = window.max(axis=-1)
        bright = np.clip((light / (np.percentile(light[inside > 128], 85) + 1) - 0.4) / 0.3, 0, 1)
        red = window[..., 0] / (window.sum(axis=-1) + 1)
        pale = np.clip((0.47 - red) / 0.05, 0, 1)
        mask = bright * pale * inside.astype(np.float32) / 255
        mask = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)

        reach = 2 * int(np.ceil(2.5 * LIP_MARGIN * self._width)) + 1
        grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        around = reach / 3
        spread = cv2.GaussianBlur(window * mask[..., None], (0, 0), around)
        spread /= cv2.GaussianBlur(mask, (0, 0), around)[..., None] + 1e-3
        teeth = window * mask[..., None] + spread * (1 - mask[..., None])
        return teeth, cv2.GaussianBlur(grown, (0, 0), 0.8)

    def _drawn_teeth(self, white: Floats) -> tuple[Floats, Floats]:
        """Colors and mask of a row of upper incisors. They stay with the head while the jaw drops."""
        seam = np.interp(self._u, STATIONS, self._shape.upper_inner)
        half = self._u / 2  # mouth widths
        arch = np.clip(np.abs(half) / ARCH_HALF_WIDTH, 0, 1)
        height = TIPS_BELOW_SEAM + TIPS_IN_A_SMILE * self._shape.smile
        tips = seam + height * (1 - 0.55 * arch**2)
        # Rounded tips and faint gaps between the teeth.
        phase = np.abs(np.mod(half / TOOTH, 1) - 0.5) * 2  # 0 in the middle of a tooth, 1 at its sides
        tips = tips - 0.012 * phase**3
        mask = np.clip((tips - self._v) / 0.02 + 0.5, 0, 1) * np.clip((1 - arch) / 0.4, 0, 1)
        # Darker to the sides, where the arch turns back, and towards the gums, in the lip's shadow.
        depth = np.clip((self._v - seam + 0.03) / (height + 0.03), 0, 1)
        body = (1 - 0.55 * arch**2) * (1 - 0.22 * phase**8) * (0.75 + 0.25 * depth)
        teeth = 1.2 * white * IVORY * body[..., None].astype(np.float32)
        blur = max(0.007 * self._width, 0.5)
        return cv2.GaussianBlur(teeth, (0, 0), blur), cv2.GaussianBlur(mask.astype(np.float32), (0, 0), blur)


def _white(image: RgbImage, face: Face) -> Floats:
    """RGB of white in the light of this face: the mean of the brightest quarter of the eyes' pixels."""
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
    white: Floats = shown[score >= np.percentile(score, 75)].mean(axis=0)
    return np.clip(white, 60, 235)
