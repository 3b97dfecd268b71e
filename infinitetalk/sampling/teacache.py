"""Skips the blocks in steps where the time embedding has hardly changed, and adds their last residual again.

"Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model" (TeaCache), arXiv:2411.19108. The polynomials
are fitted to Wan2.1's image-to-video models. Below some ten steps, neighbouring steps differ too much to skip any.
"""

import numpy as np
import torch

# Change of the output as a polynomial of the change of the embedding; highest power first.
POLYNOMIALS = {
    "480p": (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
    "720p": (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
}
ALWAYS_COMPUTED = 5  # number of first steps of a chunk that are never skipped


class TeaCache:
    """The state of one branch of guidance in one chunk."""

    def __init__(self, threshold: float, resolution: str) -> None:
        self.residual: torch.Tensor | None = None  # 1, L, dim: the sum that the blocks added when last computed
        self._threshold = threshold
        self._polynomial = np.poly1d(POLYNOMIALS[resolution])
        self._previous: torch.Tensor | None = None
        self._change = 0.0
        self._calls = 0

    def reuse(self, modulation: torch.Tensor) -> bool:
        """Whether to add `residual` instead of running the blocks; call it once in each step. modulation: 1, 6, dim."""
        early = self._calls < ALWAYS_COMPUTED
        if not early and self._previous is not None:
            moved = (modulation - self._previous).abs().mean() / self._previous.abs().mean()
            self._change += float(self._polynomial(moved.item()))
        self._previous = modulation
        self._calls += 1
        if early or self.residual is None or self._change >= self._threshold:
            self._change = 0.0
            return False
        return True

    def store(self, residual: torch.Tensor) -> None:
        self.residual = residual
