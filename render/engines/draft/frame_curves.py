"""From curves in steps of 10 ms to one value per frame, without trembling and without losing a closure of the lips.

A value per frame cannot show what is quicker than two frames: sampled as it is, it jumps at random. So the curves are
smoothed first, and no frame differs from the one before it by more than lips can move.
"""

import numpy as np
from numpy.typing import NDArray

from render.engines.base import FPS

Curve = NDArray[np.float64]

STEPS_PER_SECOND = 100
FRAME_STEPS = STEPS_PER_SECOND // FPS
LEAD_STEPS = 2  # the lips move before they are heard
FIRST_STEP = FRAME_STEPS // 2 + LEAD_STEPS  # the one that the first frame shows

SMOOTHING = 3.0  # steps, a standard deviation, of the opening
CLOSURE_REACH = 4  # steps: a closure is the narrowest moment of the 40 ms before and after it
CLOSED = 0.1  # an opening this small is a closure and becomes 0; one of up to twice this is made smaller
MAX_STEP = 0.4  # from a frame to the next: lips need 100 ms to open all the way
AHEAD = int(2 / MAX_STEP)  # frames: the later ones that a frame depends on


def opening_per_frame(opening: Curve, num_frames: int) -> Curve:
    """Smoothed, but each closure is kept in the frame nearest to it, however short it is. From 0 to 1."""
    narrowest = opening <= _windows(opening, CLOSURE_REACH).min(axis=1)
    # In a short closure the curve only begins to fall, so a little is taken off.
    closures = np.where(narrowest, np.maximum(2 * (opening - CLOSED), 0), 1.0)
    frames = num_frames + AHEAD
    # By frame: its four steps, the one before FIRST_STEP and the three from it on.
    nearest = _padded(closures, frames)[FIRST_STEP - 1 :][: frames * FRAME_STEPS].reshape(frames, FRAME_STEPS)
    smoothed = per_frame(smooth(opening, SMOOTHING), frames)
    return _limited(np.minimum(smoothed, nearest.min(axis=1)))[:num_frames]


def spread_per_frame(spread: Curve, num_frames: int) -> Curve:
    """From -1 to 1; both sides are limited alike."""
    sampled = per_frame(spread, num_frames + AHEAD)
    return ((_limited(sampled) - _limited(-sampled)) / 2)[:num_frames]


def per_frame(curve: Curve, num_frames: int) -> Curve:
    """0 after the end of the curve."""
    return _padded(curve, num_frames)[FIRST_STEP::FRAME_STEPS][:num_frames]


def smooth(curve: Curve, sigma: float) -> Curve:
    """By a Gaussian, which delays nothing. sigma: steps."""
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _limited(frames: Curve) -> Curve:
    """The highest curve below this one that nowhere moves faster than MAX_STEP: what is low stays, its sides fall."""
    slopes = MAX_STEP * np.abs(np.arange(-AHEAD, AHEAD + 1))
    return np.min(_windows(frames, AHEAD) + slopes, axis=1)


def _windows(curve: Curve, reach: int) -> Curve:
    """One row for each value, with its neighbours on both sides."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(curve, reach, mode="edge"), 2 * reach + 1)


def _padded(curve: Curve, num_frames: int) -> Curve:
    return np.pad(curve, (0, max(FIRST_STEP + num_frames * FRAME_STEPS - len(curve), 0)))
