"""Rotary position embedding over three axes (frame, row, column), with real numbers only.

The reference uses complex numbers, which move twice the bytes and cannot be compiled by torch.compile. The shares of
the axes are Wan's (arXiv:2503.20314).
"""

import torch
from torch import nn

Rotary = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, each 1, L, 1, head_dim / 2


class RotaryTables(nn.Module):
    """Tables for a grid of tokens. They are not buffers, so that a cast of the model's weights does not round them."""

    def __init__(self, head_dim: int, patch_size: tuple[int, int, int], theta: float = 10_000.0) -> None:
        super().__init__()
        across = head_dim // 6
        self.pairs = (head_dim // 2 - 2 * across, across, across)
        self.patch_size = patch_size
        self.theta = theta
        self._tables: dict[tuple[torch.Size, torch.device], Rotary] = {}

    def forward(self, hidden_states: torch.Tensor) -> Rotary:
        """hidden_states: 1, channels, T, H, W; only shape and device are used. Returns the tables of its grid."""
        key = hidden_states.shape[2:], hidden_states.device
        if key not in self._tables:
            grid = [size // patch for size, patch in zip(key[0], self.patch_size, strict=True)]
            self._tables = {key: self._make(grid, key[1])}
        return self._tables[key]

    def _make(self, grid: list[int], device: torch.device) -> Rotary:
        axes = []
        for axis, (size, pairs) in enumerate(zip(grid, self.pairs, strict=True)):
            frequencies = self.theta ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
            shape = [1, 1, 1, pairs]
            shape[axis] = size
            axes.append(torch.outer(torch.arange(size), frequencies).view(shape).expand(*grid, pairs))
        angles = torch.cat(axes, dim=-1).reshape(1, -1, 1, sum(self.pairs))
        return angles.cos().float().to(device), angles.sin().float().to(device)


def rotate(states: torch.Tensor, rotary_emb: Rotary) -> torch.Tensor:
    """Rotate neighbouring channels of each head. states: 1, L, heads, head_dim."""
    cos, sin = rotary_emb
    even, odd = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).type_as(states)
