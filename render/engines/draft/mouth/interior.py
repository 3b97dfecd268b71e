"""The inside of a mouth: teeth, the tongue and the dark."""

import cv2
import numpy as np
from numpy.typing import NDArray

from render.engines.draft.mouth.lips import Floats
from render.engines.draft.mouth.look import Look
from render.engines.draft.mouth.shape import MouthPose, MouthShape
from render.engines.draft.mouth.teeth import drawn_teeth, seen_lower, seen_upper
from render.engines.draft.warp_grid import Box
from render.engines.faces import RgbImage

# Times the color of the lips, so that the inside has the light of this face.
CAVITY = np.array([0.19, 0.10, 0.10], np.float32)
TONGUE = np.array([0.55, 0.36, 0.37], np.float32)
MUCOSA = np.array([0.50, 0.36, 0.36], np.float32)  # the lips' inner sides
MUCOSA_REACH = 0.022  # mouth widths

GRAY = 3.0  # levels between the channels, on average: a face without colors has an inside without colors, too

CONTACT_GAP = 0.03  # mouth widths: closer lips shade each other
CONTACT_SHADE = np.array([0.5, 0.62, 0.6], np.float32)
ROUND_SHADE = np.array([0.22, 0.3, 0.32], np.float32)  # of the teeth behind rounded lips


class MouthInterior:
    def __init__(self, image: RgbImage, look: Look, shape: MouthShape, region: Box) -> None:
        self._shape = shape
        self._width = width = shape.axes.width
        blur = look.blur
        self._blur = (max(blur[0], 0.006 * width), max(blur[1], 0.006 * width))
        self._box, window, self._u, self._v = _box(image, shape, region)
        self._is_gray = float(np.ptp(window, axis=-1).mean()) < GRAY
        self._down = shape.axes.down
        self._origin = np.array(region[:2], np.float32)
        color = shape.lips.color.astype(np.float32)
        self._cavity, self._tongue, self._mucosa = CAVITY * color, TONGUE * color, MUCOSA * color
        # Lips that hardly part in the image show their shadow already.
        self._contact = min(shape.natural_opening / CONTACT_GAP, 1)
        lips, u, v = shape.lips, self._u, self._v
        self._lower = None if look.lower is None else seen_lower(window, lips, u, v, look.lower, max(blur))
        self._upper = (
            drawn_teeth(look.white, lips, shape.seam, shape.smile, u, v, max(blur))
            if look.upper is None
            else seen_upper(window, lips, u, v, look.upper, max(blur))
        )

    def draw(
        self, face: RgbImage, upper_edge: Floats, lower_edge: Floats, pose: MouthPose, jaw: float, closing: float
    ) -> None:
        """Fill the gap between the edges of the lips.

        face: the region's pixels, changed. Edges: N x 2, its pixels. jaw: pixels by which the lower teeth have moved
        down. closing: from 0 to 1, how far lips that are open in the image are closed.
        """
        gap = (lower_edge - upper_edge) @ self._down / self._width
        widest = float(gap.max())
        if closing > 0 and widest < CONTACT_GAP:
            share = self._contact * (1 - max(widest, 0) / CONTACT_GAP)
            self._shade_contact(face, np.mean([upper_edge, lower_edge], axis=0), share)
        if widest < 0.004:
            return
        left, top, right, bottom = self._box
        window = face[top:bottom, left:right]
        parted = np.flatnonzero(gap > 0.002)  # a polygon without width would be drawn as a line
        shown = np.s_[max(parted[0] - 1, 0) : parted[-1] + 2]
        upper_edge, lower_edge = upper_edge[shown], lower_edge[shown]
        outline = np.concatenate([upper_edge, lower_edge[::-1]]) - np.array([left, top], np.float32)
        mask = np.zeros(window.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        x, y, w, h = cv2.boundingRect(mask)
        reach = int(2 * max(self._blur)) + 2
        x0, y0 = max(x - reach, 0), max(y - reach, 0)
        part = np.s_[y0 : y + h + reach, x0 : x + w + reach]
        filled = self._inside(mask[part], part, lower_edge, widest, pose.rounding, jaw)
        if self._is_gray:
            filled = np.repeat(filled.mean(axis=-1, keepdims=True), 3, axis=-1)
        soft = cv2.GaussianBlur(mask[part], (0, 0), self._blur[0], sigmaY=self._blur[1])
        opacity = soft.astype(np.float32) * np.float32(min(widest / 0.02, 1) / 255)
        window[part] = cv2.blendLinear(
            window[part], np.clip(filled + 0.5, 0, 255).astype(np.uint8), 1 - opacity, opacity
        )

    def _inside(
        self,
        mask: NDArray[np.uint8],
        part: tuple[slice, slice],
        lower_edge: Floats,
        widest: float,
        rounding: float,
        jaw: float,
    ) -> Floats:
        """H x W x 3: what is seen through the gap, in a part of the box."""
        u = self._u[part]
        edge_u, edge_v = self._shape.axes.to_mouth(lower_edge + self._origin)
        order = np.argsort(edge_u, kind="stable")
        above = np.maximum(np.interp(u, edge_u[order], edge_v[order]).astype(np.float32) - self._v[part], 0)

        # The tongue lies behind the lower lip, lit from the front; the palate above it is dark.
        tongue = np.exp(-(((above - 0.05) / 0.09) ** 2) - (u / 0.6) ** 2) * np.clip((widest - 0.08) / 0.15, 0, 1)
        inside = self._cavity + (self._tongue - self._cavity) * (0.7 * tongue)[..., None].astype(np.float32)
        if self._lower is None:  # above the lower lip its inner side is seen
            rim = np.exp(-((above / MUCOSA_REACH) ** 2)) * np.clip(widest / 0.1, 0, 1)
            inside += (self._mucosa - inside) * (0.6 * rim[..., None]).astype(np.float32)
        # Where the gap is narrow, only the inner sides of the lips are seen.
        narrow = max(0.03 * self._width, *self._blur)
        deep = cv2.GaussianBlur(mask, (0, 0), narrow).astype(np.float32)[..., None] / 255
        deep = np.clip(2 * deep - 0.2, 0, 1)
        inside = self._mucosa + (inside - self._mucosa) * deep
        light = (0.5 + 0.5 * deep) * (1 - ROUND_SHADE * np.float32(rounding))
        for teeth, moved in ((self._lower, jaw), (self._upper, 0.0)):
            if teeth is None:
                continue
            colors, opacity = teeth.colors, teeth.opacity
            if moved:
                shift = np.array([[1, 0, moved * self._down[0]], [0, 1, moved * self._down[1]]])
                size = opacity.shape[1::-1]
                colors = cv2.warpAffine(colors, shift, size, borderMode=cv2.BORDER_REPLICATE)
                opacity = cv2.warpAffine(opacity, shift, size, borderMode=cv2.BORDER_REPLICATE)[..., None]
            inside += (colors[part] * light - inside) * opacity[part]
        return inside

    def _shade_contact(self, face: RgbImage, seam: Floats, share: float) -> None:
        """Draw the shadow line between lips that are open in the image and closed in this frame."""
        left, top, right, bottom = self._box
        window = face[top:bottom, left:right]
        line = np.zeros(window.shape[:2], np.uint8)
        thickness = max(round(0.012 * self._width), 1)
        points = np.round((seam[2:-2] - np.array([left, top])) * 16).astype(np.int32)
        cv2.polylines(line, [points], False, 255, thickness, cv2.LINE_AA, 4)
        shade = cv2.GaussianBlur(line, (0, 0), self._blur[0], sigmaY=self._blur[1]).astype(np.float32) / 255
        shadow = np.full(3, CONTACT_SHADE.mean()) if self._is_gray else CONTACT_SHADE
        window[:] = (window * (1 - shadow * np.float32(share) * shade[..., None])).astype(np.uint8)


def _box(image: RgbImage, shape: MouthShape, region: Box) -> tuple[Box, RgbImage, Floats, Floats]:
    """The part of the region where the inside can be seen, its pixels, and their u and v. The box: of the region."""
    lips, left, top = shape.lips, region[0], region[1]
    above, below = float(lips.upper_inner.min()) - 0.12, float(lips.lower_inner.max()) + 0.45
    corners = shape.axes.to_image(
        np.array([-1.15, 1.15, -1.15, 1.15], np.float32), np.array([above, above, below, below], np.float32)
    )
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), (left, top))
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int), region[2:])
    x, y = np.meshgrid(np.arange(low[0], high[0], dtype=np.float32), np.arange(low[1], high[1], dtype=np.float32))
    u, v = shape.axes.to_mouth(np.stack([x, y], axis=-1))
    box = (int(low[0]) - left, int(low[1]) - top, int(high[0]) - left, int(high[1]) - top)
    return box, image[low[1] : high[1], low[0] : high[0]], u, v
