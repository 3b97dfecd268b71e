"""How each point of the lower face moves in a pose.

The face above the gap between the lips and the face below it move apart, so they are two layers with displacements of
their own, which agree beyond the corners. Displacements are weighted sums of four smooth fields (open, close, wide,
round), so a pose is four numbers.
"""

from dataclasses import dataclass

import numpy as np

from render.engines.draft.mouth.lips import MIDDLE, STATIONS, Floats
from render.engines.draft.mouth.look import NOSE_BASE, Look
from render.engines.faces import CHIN, LEFT_EDGE, RIGHT_EDGE, Face

# Face Mesh's indices.
JAW_SIDES = [58, 288]  # on the outline of the face, at the height of the mouth
OUTLINE_LEFT, OUTLINE_RIGHT = (  # from the ear to beside the chin
    [234, 93, 132, 58, 172, 136, 150, 149, 176],
    [454, 323, 361, 288, 397, 365, 379, 378, 400],
)
# The skin of the jaw and the cheeks between them.
JAW = [*OUTLINE_LEFT, *OUTLINE_RIGHT, 148, 152, 377,
       192, 138, 135, 169, 170, 140, 171, 175, 396, 369, 395, 394, 364, 367, 416, 187, 207, 214, 212, 202, 204, 194,
       201, 200, 421, 418, 424, 422, 432, 434, 427, 411, 57, 287, 43, 273, 106, 335, 18, 17, 84, 314]  # fmt: skip

ROUND_OPENING = 0.45  # share of an opening that rounding the lips takes away: "oo" is a small hole
UPPER_SHARE = 0.1  # the upper lip's share of the motion
UPPER_SHARE_CLOSING = 0.35  # and when it comes down over the teeth that the image shows
LIP_OVER_TEETH = 0.08  # mouth widths by which lips that show the teeth come down over them when rounded
TEETH_SHOWN = 0.12  # mouth widths between the lips: the teeth are shown, whatever the smile
OUTSIDE = 0.5  # half mouth widths in which the motion fades beyond the outline of the face
NECK = 0.4  # mouth widths in which it fades below the chin
CORNER_SHARE = 0.2  # of the jaw's motion, by which the corners and the cheeks beside them follow it

SMILE_RELAXATION = 0.4  # share of a full rounding by which speaking reduces a full grin


@dataclass(frozen=True)
class MouthPose:
    opening: float  # from 0 (lips closed) to 1 (as far as the engine opens them)
    spread: float  # from -1 (rounded) to 1 (wide)

    @property
    def rounding(self) -> float:
        """From 0 to 1."""
        return min(max(-self.spread, 0.0), 1.0)


class MouthShape:
    def __init__(self, face: Face, look: Look) -> None:
        self.lips, self.smile = look.lips, look.smile
        self.axes = self.lips.axes
        points = face.points
        self.nose_base = float(self.axes.to_mouth(points[NOSE_BASE])[1])
        chin_u, chin_v = self.axes.to_mouth(points[CHIN])
        self.chin = (float(chin_u), float(chin_v))
        self._outline = [self.axes.to_mouth(points[side]) for side in (OUTLINE_LEFT, OUTLINE_RIGHT)]

        # Values of u, left and right: beyond them nothing moves.
        reach = [float(np.abs(side_u).max()) + OUTSIDE for side_u, _ in self._outline]
        self.sides = (-reach[0], reach[1])

        # The motion of the corners fades out within the cheeks, so that the outline of the face stays in place. A field
        # that fades faster than it moves would fold over, so narrow cheeks allow less.
        outline = np.abs(self.axes.to_mouth(points[JAW_SIDES])[0])
        self._cheek = float(np.clip(0.5 * (outline.min() - 1), 0.25, 0.6))
        self._narrowing = min(0.165 + 0.05 * self.smile, 0.45 * self._cheek)
        self._jaw_depth = self._fitted_jaw(face)
        # Visible teeth end at the upper lip of the image: there are no more behind it to uncover.
        shows_teeth = look.upper is not None
        self._upper_share = 0.0 if shows_teeth else UPPER_SHARE
        self._closing_share = UPPER_SHARE_CLOSING if shows_teeth else UPPER_SHARE
        self.natural_opening = float(self.lips.gap[MIDDLE].mean())  # mouth widths
        self._cover = LIP_OVER_TEETH * min(self.natural_opening / TEETH_SHOWN, 1) if shows_teeth else 0.0
        self._widest = look.widest
        self.natural_pose = MouthPose(self.natural_opening / self._widest, SMILE_RELAXATION * self.smile)

    def weights(self, pose: MouthPose) -> Floats:
        """4 weights, of the fields open, close, wide and round."""
        aperture = self.aperture(pose)
        spread = np.clip(pose.spread - self.natural_pose.spread, -1, 1)
        closing = (1 - aperture / self.natural_opening) if aperture < self.natural_opening else 0.0
        return np.array(
            [max(aperture - self.natural_opening, 0), closing, max(spread, 0), max(-spread, 0)], dtype=np.float32
        )

    def aperture(self, pose: MouthPose) -> float:
        """Mouth widths between the lips."""
        most = max(self.natural_pose.opening, 1.0)  # in a film, a mouth may be open further than it is ever drawn
        return min(max(pose.opening, 0.0), most) * self._widest * (1 - ROUND_OPENING * pose.rounding)

    @property
    def seam(self) -> Floats:
        """Values of v at the stations: where the lips meet when they close."""
        return self.lips.upper_inner + np.float32(self._closing_share) * self.lips.gap

    def fields(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """For each layer 4 x ... x 2, pixels: the displacement of the points (u, v) by each field at weight 1."""
        lips, chin_v = self.lips, self.chin[1]

        # Both layers share the corners. `stretch` is odd and linear inside the mouth, `corners` is a bump at each.
        beside = np.maximum(np.abs(u) - 1, 0)
        near = np.exp(-((v / np.where(v < 0, 0.32, 0.42)) ** 2))  # does not move the folds beside the nose
        stretch = u * np.exp(-((beside / self._cheek) ** 2)) * near
        corners = np.exp(-(((np.abs(u) - 1) / 0.55) ** 2)) * near
        lens = self._lens(u)
        bulge = np.exp(-((u / 0.7) ** 2))
        # The jaw turns about the ears: it moves by its distance in front of them. The cheek hangs between it and the
        # cheekbone.
        jaw = self._jaw(u, v) * (1 - _ease(np.clip((v - chin_v) / NECK, 0, 1)))
        cheek = _ease(np.clip((v + 0.45) / (chin_v + 0.45), 0, 1))
        follows = jaw * (CORNER_SHARE * near + (1 - near) * cheek)

        along = np.zeros((4, *u.shape), np.float32)
        along[0], along[2], along[3] = -0.12 * stretch, 0.075 * stretch, -self._narrowing * stretch
        upper, lower = np.zeros_like(along), np.zeros_like(along)  # downward, mouth widths
        for layer in (upper, lower):
            layer[2], layer[3] = -0.03 * corners, 0.04 * self.smile * corners

        lip, outer = self._at(u, lips.upper_inner), self._at(u, lips.upper_outer)
        hold = 1 - _ease(np.clip((lip - v) / (lip - self.nose_base), 0, 1))  # 1 at the lip, 0 at the nose
        inside = np.sqrt(np.clip(1 - np.abs(u), 0, 1))
        upper[0] = follows * (1 - inside * (1 - (1 - lens) * hold))  # the middle of the lip stays with the skull
        upper[0] -= self._upper_share * lens * hold
        upper[1] = self._closing_share * self._at(u, lips.gap) * hold
        bump = bulge * _bump(lip - v, lip - outer)
        upper[2] += 0.015 * bump
        upper[3] += self._cover * lens * hold - 0.035 * bump

        lip, outer = self._at(u, lips.lower_inner), self._at(u, lips.lower_outer)
        to_jaw = _ease(np.clip((v - lip) / (0.6 * (chin_v - lip)), 0, 1))  # 0 at the lip, 1 above the chin
        opened = (1 - self._upper_share) * lens + (1 - lens) * follows
        lower[0] = opened + (np.maximum(jaw, follows) - opened) * to_jaw
        gap, widest = self._at(u, lips.gap), float(lips.gap.max())
        lower[1] = -(1 - self._closing_share) * (gap + (0.7 * widest * jaw - gap) * to_jaw)
        bump = bulge * _bump(v - lip, outer - lip)
        lower[2] -= 0.02 * bump
        lower[3] += self._cover * lens * (1 - to_jaw) + 0.045 * bump

        across, down = self.axes.across * self.axes.width, self.axes.down * self.axes.width
        return along[..., None] * across + upper[..., None] * down, along[..., None] * across + lower[..., None] * down

    def _lens(self, u: Floats) -> Floats:
        """How far the lips part, from 0 at the inner corners to 1 in the middle."""
        lips = self.lips
        share = np.where(u < 0, u / lips.left, u / lips.right)
        return (np.maximum(1 - share**2, 0) ** 1.15).astype(np.float32)

    def _fitted_jaw(self, face: Face) -> Floats:
        """6 coefficients of a square surface in (u, v): the distance in front of the ears, 1 at the lower lip."""
        ears = (face.depth[LEFT_EDGE] + face.depth[RIGHT_EDGE]) / 2
        u, v = self.axes.to_mouth(face.points[JAW])
        # In a turned face, one ear is nearer to the camera than the other; the jaw turns about the line between them.
        edge_u = self.axes.to_mouth(face.points[[LEFT_EDGE, RIGHT_EDGE]])[0]
        slope = (face.depth[RIGHT_EDGE] - face.depth[LEFT_EDGE]) / (edge_u[1] - edge_u[0])
        forward = ears + slope * (u - edge_u.mean()) - face.depth[JAW]
        coefficients = np.linalg.lstsq(_square(u, v), forward, rcond=None)[0]
        lip = _square(np.zeros(1, np.float32), np.full(1, self.lips.lower_inner[20], np.float32)) @ coefficients
        return (coefficients / max(float(lip[0]), 1.0)).astype(np.float32)

    def _jaw(self, u: Floats, v: Floats) -> Floats:
        """The share of the lower lip's motion by which bone at (u, v) moves."""
        reach = np.clip(u, -2.6, 2.6)
        surface = _square(reach, np.clip(v, -0.6, self.chin[1])) @ self._jaw_depth
        sides = [np.abs(np.interp(v, side_v, side_u)) for side_u, side_v in self._outline]
        beyond = np.abs(u) - np.where(u < 0, sides[0], sides[1])  # the outline of the face
        return (np.clip(surface, 0, 1.1) * (1 - _ease(np.clip(beyond / OUTSIDE, 0, 1)))).astype(np.float32)

    def _at(self, u: Floats, contour: Floats) -> Floats:
        return np.interp(u, STATIONS, contour).astype(np.float32)


def _square(u: Floats, v: Floats) -> Floats:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def _ease(share: Floats) -> Floats:
    eased: Floats = share * share * (3 - 2 * share)
    return eased


def _bump(distance: Floats, lip: Floats) -> Floats:
    """0 at the inner edge of a lip, 1 at its outer edge, then fading within about twice its thickness."""
    share = np.clip(distance / np.maximum(lip, 0.03), 0, None)
    bump: Floats = np.where(share < 1, share, np.exp(-(((share - 1) / 1.6) ** 2))).astype(np.float32)
    return bump
