"""The motion of a head: it sways and turns a little, and nods where the voice is stressed.

The image is flat, so all motion is a smooth warp. Most of it is parallax within the face, which leaves the outline of
the face, and with it the background, in place. The sway of the whole head fades out far around it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS
from render.engines.draft.frame_curves import Curve
from render.engines.draft.warp_grid import Box
from render.engines.faces import CHIN, FOREHEAD, Face, Points

SETTLING_SECONDS = 1.0  # the first frame is the image itself; the motion grows from there

HEAD = 0.85  # face widths and heights: half the size of a head with its hair
HAIR = 0.12  # face heights from the middle of the face up to the middle of the head
REACH = 2.1  # heads: there is no motion beyond

ROLL = np.radians(0.7)
SWAY = 0.008  # face widths, of the whole head
TURN = 0.022  # face widths, of the middle of the face against its outline
NOD = 0.016  # face widths
STRESS = 0.035  # face widths down, per unit of level above the usual


@dataclass(frozen=True)
class HeadCurves:
    """One value per frame. Roll in radians; the others in face widths, to the right and down."""

    roll: Curve
    sway: Curve
    turn: Curve
    nod: Curve


def head_curves(level: Curve, random: np.random.Generator) -> HeadCurves:
    """Slow waves without a common period; the voice's level adds to the nod."""
    seconds = np.arange(len(level)) / FPS
    settled = np.clip(seconds / SETTLING_SECONDS, 0, 1)
    settled = settled * settled * (3 - 2 * settled)

    def wave(slow: float, quick: float) -> Curve:
        phases = random.uniform(0, 2 * np.pi, 2)
        curve: Curve = 0.65 * np.sin(2 * np.pi * slow * seconds + phases[0])
        return curve + 0.35 * np.sin(2 * np.pi * quick * seconds + phases[1])

    return HeadCurves(
        roll=settled * ROLL * wave(0.17, 0.41),
        sway=settled * SWAY * wave(0.11, 0.29),
        turn=settled * TURN * wave(0.13, 0.37),
        nod=settled * (NOD * wave(0.19, 0.31) + STRESS * (level - 0.4)),
    )


class Head:
    """The warp of one head. others: faces that must not move with it."""

    def __init__(self, points: Points, height: int, width: int, face: Face, others: list[Face]) -> None:
        """points: ... x 2, the pixels of an image of this size for which `shift` returns the warp."""
        face_height = face.height
        down = (face.points[CHIN] - face.points[FOREHEAD]) / np.float32(face_height)
        across = np.array([down[1], -down[0]], np.float32)
        offset = points - face.centre
        u, v = offset @ across / face.width, offset @ down / face_height

        # 1 on the head with its hair; 0 beyond twice its size, at the image's border, and half-way to another face.
        weight = _ease(np.clip(REACH - np.hypot(u / HEAD, (v + HAIR) / HEAD), 0, 1))
        border = np.minimum.reduce(
            [points[..., 0], width - 1 - points[..., 0], points[..., 1], height - 1 - points[..., 1]]
        )
        weight *= _ease(np.clip(border / (0.35 * face.width), 0, 1))
        for other in others:
            between = other.centre - face.centre
            share = offset @ between / float(between @ between)  # 0 here, 1 there
            weight *= _ease(np.clip((0.5 - share) / 0.2, 0, 1))
        depth = np.exp(-((u / 0.42) ** 2) - ((v / 0.5) ** 2)) * weight

        # Backward: a pixel comes from the side opposite to the head's motion.
        pivot = offset - down * face_height  # the neck
        turned = np.stack([pivot[..., 1], -pivot[..., 0]], axis=-1)
        nod = 0.25 * weight + 0.75 * depth
        self._roll = (turned * weight[..., None]).astype(np.float32)
        self._sway = (-across * face.width * weight[..., None]).astype(np.float32)
        self._turn = (-across * face.width * depth[..., None]).astype(np.float32)
        self._nod = (-down * face.width * nod[..., None]).astype(np.float32)

    def shift(self, curves: HeadCurves, index: int) -> Points:
        """At the points, in pixels: from the place of a pixel in the result to its place in the image."""
        shift: Points = (
            self._roll * np.float32(curves.roll[index])
            + self._sway * np.float32(curves.sway[index])
            + self._turn * np.float32(curves.turn[index])
            + self._nod * np.float32(curves.nod[index])
        )
        return shift


def moved_box(faces: list[Face], height: int, width: int) -> Box:
    """The part of an image of this size that its heads can move."""
    reach = [REACH * HEAD * max(face.width, face.height) + HAIR * face.height for face in faces]
    centres = [face.centre for face in faces]
    low = np.min([centre - r for centre, r in zip(centres, reach, strict=True)], axis=0)
    high = np.max([centre + r for centre, r in zip(centres, reach, strict=True)], axis=0)
    return max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]) + 1, width), min(int(high[1]) + 1, height)


def _ease(share: NDArray[np.float32]) -> NDArray[np.float32]:
    eased: NDArray[np.float32] = share * share * (3 - 2 * share)
    return eased
