"""Keeps the colours of a long video where they began: each frame gets the reference's mean and spread in Lab.

"Color Transfer between Images", Reinhard et al., IEEE CG&A 2001, in CIE Lab (D65).
"""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab

FLAT = 1e-3  # a plane with a smaller deviation has one colour


def correct_colours(video: torch.Tensor, reference: torch.Tensor, strength: float) -> torch.Tensor:
    """video: 1, 3, F, H, W; reference: 1, 3, 1, H, W; both in [-1, 1]. strength: 0 (leave) to 1 (correct fully)."""
    if strength == 0:
        return video
    target = _to_lab(_to_rgb(reference[0, :, 0]))
    means, deviations = zip(*(_statistics(target[..., plane]) for plane in range(3)), strict=True)
    frames = []
    for frame in video[0].unbind(1):
        rgb = _to_rgb(frame)
        lab = _to_lab(rgb)
        matched = np.empty_like(lab)
        for plane in range(3):
            mean, deviation = _statistics(lab[..., plane])
            if deviation < FLAT:
                matched[..., plane] = means[plane]
            else:
                matched[..., plane] = (lab[..., plane] - mean) * (deviations[plane] / deviation) + means[plane]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of colours outside sRGB, which are clipped
            corrected = np.clip(lab2rgb(matched), 0, 1).astype(np.float32)
        blended = (1 - np.float32(strength)) * rgb + np.float32(strength) * corrected
        frames.append(torch.from_numpy(blended * 2 - 1).permute(2, 0, 1))
    return torch.stack(frames, dim=1)[None].to(video)


def _to_rgb(frame: torch.Tensor) -> NDArray[np.float32]:
    """3, H, W in [-1, 1] -> H, W, 3 in [0, 1]."""
    return np.ascontiguousarray(((frame.float() + 1) / 2).clamp(0, 1).permute(1, 2, 0).cpu().numpy())


def _to_lab(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    lab: NDArray[np.float32] = rgb2lab(rgb).astype(np.float32)
    return lab


def _statistics(plane: NDArray[np.float32]) -> tuple[np.float32, np.float32]:
    # One plane at a time, contiguous: summed over an interleaved array, a flat frame seems to have a deviation.
    plane = np.ascontiguousarray(plane)
    return plane.mean(dtype=np.float32), plane.std(dtype=np.float32)
