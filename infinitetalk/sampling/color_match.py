"""Keeps the colors of a long video constant: each frame gets the reference's mean and deviation in Lab.

"Color Transfer between Images", Reinhard et al., IEEE CG&A 2001, in CIE Lab (D65).
"""

import torch

from infinitetalk.sampling.cie_lab import lab_to_rgb, rgb_to_lab

FLAT = 1e-3  # A Lab plane with a smaller standard deviation counts as one color.
PIXELS_AT_ONCE = 2**20  # each takes some hundred bytes beside the video


def correct_colors(video: torch.Tensor, reference: torch.Tensor, strength: float) -> torch.Tensor:
    """video: 1, 3, F, H, W; reference: 1, 3, 1, H, W; both in [-1, 1]. strength: 0 (leave) to 1 (correct fully).

    Returns a video like `video`, computed in float32 on its device.
    """
    if strength == 0:
        return video
    target_mean, target_deviation, _ = _statistics(rgb_to_lab(_to_rgb(reference[0].to(video.device))))
    corrected = torch.empty_like(video)
    frames_at_once = max(1, PIXELS_AT_ONCE // (video.shape[-2] * video.shape[-1]))
    for source, result in zip(video[0].split(frames_at_once, 1), corrected[0].split(frames_at_once, 1), strict=True):
        rgb = _to_rgb(source)
        _, deviation, centred = _statistics(rgb_to_lab(rgb))
        spread = torch.where(deviation < FLAT, 0, target_deviation / deviation)
        matched = lab_to_rgb(centred * spread + target_mean)
        result.copy_(torch.lerp(rgb, matched, strength) * 2 - 1)
    return corrected


def _to_rgb(frames: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> [0, 1]."""
    return ((frames.float() + 1) / 2).clamp(0, 1)


def _statistics(lab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """3, F, H, W -> mean and standard deviation of each plane, each 3, F, 1, 1, and the planes minus their means."""
    mean = lab.mean(dim=(2, 3), keepdim=True, dtype=torch.float64).float()
    centred = lab - mean
    return mean, centred.square().mean(dim=(2, 3), keepdim=True, dtype=torch.float64).sqrt().float(), centred
