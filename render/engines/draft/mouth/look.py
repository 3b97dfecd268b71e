"""What a mouth takes from an image besides the pixels that it moves, and how it is kept steady through a film.

A single frame with noise or motion blur is often misjudged: teeth come and go, and contours jump. In a film such
judgements are made once for a person, or are smoothed over the neighbouring frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from render.engines.draft.mouth.lips import MIDDLE, Floats, Lips
from render.engines.draft.mouth.sharpness import blur_of
from render.engines.draft.mouth.teeth import IVORY, find_rows, tooth_color
from render.engines.draft.mouth.white import white_of
from render.engines.faces import Face, RgbImage

# Face Mesh's indices.
NOSE_BASE = 2
EYES_OUTER = [33, 263]

MAX_OPENING = 0.26  # mouth widths between the lips at opening 1
WIDEST = 0.32  # mouth widths at opening 1, for a mouth that the image shows open

# A relaxed mouth is about as wide as 0.58 of the distance between the outer corners of the eyes, a grin 0.8.
RELAXED_WIDTH = 0.6

# In a film: frames before and after one that have a say.
CONTOUR_REACH = 2
LIGHT_REACH = 8  # more than half of a blink, in which there is no white
TEETH_REACH = 4


@dataclass(frozen=True)
class Look:
    lips: Lips
    smile: float  # from 0 to 1, a full grin
    white: Floats  # RGB
    blur: tuple[float, float]  # across and down, pixels
    upper: Floats | None  # as `find_rows`: the person's own teeth; without upper ones, a row is drawn
    lower: Floats | None
    tooth: Floats | None  # RGB, of the upper teeth
    widest: float  # mouth widths between the lips at opening 1

    @classmethod
    def at(cls, image: RgbImage, face: Face, in_film: bool = False, before: "Look | None" = None) -> "Look":
        """in_film, before: as for `Lips`."""
        white = white_of(image, face)
        lips = Lips(image, face, white, in_film, before.lips if before else None)
        eyes = np.linalg.norm(face.points[EYES_OUTER[1]] - face.points[EYES_OUTER[0]])
        gap = float(lips.gap[MIDDLE].mean())
        upper, lower = find_rows(image, lips) if lips.is_open else (None, None)
        return cls(
            lips=lips,
            smile=float(np.clip((lips.axes.width / eyes - RELAXED_WIDTH) / 0.2, 0, 1)),
            white=white,
            blur=blur_of(_around_lips(image, lips, float(lips.axes.to_mouth(face.points[NOSE_BASE])[1]))),
            upper=upper,
            lower=lower,
            tooth=None if upper is None else tooth_color(image, lips, upper),
            # Teeth that fill the gap in the image leave no room for speech, so such a mouth opens further.
            widest=max(MAX_OPENING, min(gap + 0.1, WIDEST), gap),
        )


def steady(looks: Sequence[Look | None]) -> list[Look | None]:
    """The looks of one person in the frames of a film, without what is due to a single frame. None: not in sight."""
    stretches = [list(stretch) for _, stretch in groupby(looks, key=lambda look: look is None)]
    shown = [[look for look in stretch if look is not None] for stretch in stretches]
    shows_upper = all(_mostly([look.upper is not None for look in stretch]) for stretch in shown if stretch)
    shows_lower = shows_upper and all(_mostly([look.lower is not None for look in part]) for part in shown if part)
    widest = MAX_OPENING
    if shows_upper:
        widest = float(np.median([look.widest for stretch in shown for look in stretch] or [MAX_OPENING]))
    teeth = [look.tooth / (look.white * IVORY) for part in shown for look in part if look.tooth is not None]
    # Drawn teeth have the color of those that the person shows at another time, most clearly when they are brightest.
    whiter = np.clip(np.percentile(teeth, 85, axis=0), 0.75, 1.6) if teeth else np.ones(3)
    steadied: list[Look | None] = []
    for stretch, seen in zip(stretches, shown, strict=True):
        steadied += _stretch(seen, widest, whiter.astype(np.float32), shows_upper, shows_lower) if seen else stretch
    return steadied


def _stretch(looks: list[Look], widest: float, whiter: Floats, shows_upper: bool, shows_lower: bool) -> list[Look]:
    meshes = np.stack([look.lips.mesh for look in looks])
    contours = np.stack([[look.lips.upper_inner, look.lips.lower_inner] for look in looks])
    contours = meshes + _smoothed(contours - meshes, CONTOUR_REACH)
    colors, whites, blurs, smiles = (
        _smoothed(np.array(values, np.float32), LIGHT_REACH)
        for values in (
            [look.lips.color for look in looks],
            [look.white for look in looks],
            [look.blur for look in looks],
            [look.smile for look in looks],
        )
    )
    nothing: list[None] = [None] * len(looks)
    uppers = _rows([look.upper for look in looks]) if shows_upper else nothing
    lowers = _rows([look.lower for look in looks]) if shows_lower else nothing
    return [
        replace(
            look,
            lips=look.lips.with_contours(contours[index, 0], contours[index, 1], colors[index]),
            smile=float(smiles[index]),
            white=whites[index] * whiter,
            blur=(float(blurs[index][0]), float(blurs[index][1])),
            upper=uppers[index],
            lower=lowers[index],
            widest=widest,
        )
        for index, look in enumerate(looks)
    ]


def _mostly(found: Sequence[bool]) -> bool:
    """Whether most of the frames around each one say so."""
    return bool((np.median(_windows(np.array(found, np.float32), TEETH_REACH), axis=-1) > 0.5).all())


def _rows(rows: list[Floats | None]) -> Sequence[Floats]:
    """A frame that does not show the teeth has those of the nearest one that does."""
    found = [index for index, row in enumerate(rows) if row is not None]
    nearest = [min(found, key=lambda other: abs(other - index)) for index in range(len(rows))]
    return list(_smoothed(np.stack([row for other in nearest if (row := rows[other]) is not None]), CONTOUR_REACH))


def _smoothed(values: Floats, reach: int) -> Floats:
    """Over time, the first axis. A median takes off what one frame alone says, then a mean the steps."""
    median = np.median(_windows(values, reach), axis=-1)
    return _windows(median, reach).mean(axis=-1).astype(np.float32)


def _windows(values: NDArray[np.floating], reach: int) -> NDArray[np.floating]:
    """For each frame its neighbours on both sides, in a new last axis."""
    padded = np.pad(values, [(reach, reach), *[(0, 0)] * (values.ndim - 1)], mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)


def _around_lips(image: RgbImage, lips: Lips, nose_base: float) -> RgbImage:
    """From the nostrils to the lower lip: there are edges in any face."""
    u = np.array([-1.2, 1.2, -1.2, 1.2], np.float32)
    below = float(lips.lower_outer.max()) + 0.1
    v = np.array([nose_base - 0.2, nose_base - 0.2, below, below], np.float32)
    left, top, right, bottom = lips.axes.box(u, v, image)
    return image[top:bottom, left:right]
