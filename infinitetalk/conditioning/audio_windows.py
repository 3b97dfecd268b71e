"""The windows of voice features for each frame of a chunk. Plain index arithmetic.

A row of features belongs to one video frame. A frame gets its own row and its neighbours; a latent frame gets the rows
of its video frames and their neighbours.
"""

import torch

TAIL_MARGIN = 3  # rows past the last frame, so that its window is not clamped


def windows(features: torch.Tensor, start: int, num_frames: int, window: int = 5) -> torch.Tensor:
    """features: N, blocks, channels. Returns num_frames, window, blocks, channels for the frames from `start` on.

    Past both ends the nearest row is repeated.
    """
    around = torch.arange(window) - window // 2
    rows = torch.arange(start, start + num_frames)[:, None] + around
    return features[rows.clamp(0, len(features) - 1)]


def lengthen_tail(features: torch.Tensor, stop: int) -> torch.Tensor:
    """Extend a voice that ends before the chunk's end, frame `stop`, by its last rows in reverse order.

    features: N, blocks, channels. A voice that is too short is mirrored as a whole, and `windows` repeats the last row.
    """
    if stop < len(features):
        return features
    missing = stop - len(features) + TAIL_MARGIN
    return torch.cat([features, features[-missing:].flip(0)])


def split_windows(audio: torch.Tensor, vae_scale: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Group the windows of video frames by the latent frame they belong to.

    audio: P, F, window, blocks, channels with F = 1 + vae_scale * (T - 1). Returns P, 1, window, ... for the first
    latent frame, and P, T - 1, window + vae_scale - 1, ... for the others: the past half of the group's first window,
    the middle rows, the future half of its last one.
    """
    middle = audio.shape[2] // 2
    first, rest = audio[:, :1], audio[:, 1:]
    groups = rest.unflatten(1, (rest.shape[1] // vae_scale, vae_scale))
    latter = [groups[:, :, 0, : middle + 1], groups[:, :, 1:-1, middle], groups[:, :, -1, middle:]]
    return first, torch.cat(latter, dim=2)
