"""Guidance by text and by voice, plain or projected, with no pass that cannot matter.

Projected guidance: "Eliminating Oversaturation and Artifacts of High Guidance Scales" (APG), arXiv:2410.02416.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch


class Branch(StrEnum):
    """What a pass of the transformer is given."""

    FULL = "full"  # prompt and voice
    NO_AUDIO = "no_audio"  # the prompt, and zeros for the voice
    NO_TEXT = "no_text"  # the negative prompt, and the voice
    NOTHING = "nothing"  # the negative prompt, and zeros for the voice


@dataclass(frozen=True)
class ProjectedGuidance:
    momentum: float = -0.75
    threshold: float = 55.0  # largest norm of an update; 0 or less: no limit


@dataclass(frozen=True)
class GuidanceScales:
    text: float
    audio: float

    def branches(self) -> list[Branch]:
        """The passes of one step. A scale of 1 multiplies nothing, so its pass is left out."""
        if self.text == 1:
            return [Branch.FULL] if self.audio == 1 else [Branch.FULL, Branch.NO_AUDIO]
        if self.audio == 1:
            return [Branch.FULL, Branch.NO_TEXT]
        return [Branch.FULL, Branch.NO_TEXT, Branch.NOTHING]


class Guidance:
    """Combines the passes of a step. Keeps running averages (projected guidance): make a new one for each chunk."""

    def __init__(self, scales: GuidanceScales, projected: ProjectedGuidance | None = None) -> None:
        self.scales = scales
        self.branches = scales.branches()
        self._text = _Projection(projected) if projected else None
        self._audio = _Projection(projected) if projected else None

    def __call__(self, predict: Callable[[Branch], torch.Tensor]) -> torch.Tensor:
        """Run the passes by `predict` (each 1, C, T, H, W) and return the guided prediction."""
        predicted = {branch: predict(branch) for branch in self.branches}
        full = predicted[Branch.FULL]
        text = full - predicted[Branch.NO_TEXT] if Branch.NO_TEXT in predicted else None
        without_audio = predicted.get(Branch.NO_AUDIO, predicted.get(Branch.NOTHING))
        audio = None
        if without_audio is not None:
            audio = predicted.get(Branch.NO_TEXT, full) - without_audio

        # Each difference is added once more than its scale says less one: `full` holds it once already.
        guided = full
        if text is not None:
            guided = guided + (self.scales.text - 1) * (self._text(text, full) if self._text else text)
        if audio is not None:
            guided = guided + (self.scales.audio - 1) * (self._audio(audio, full) if self._audio else audio)
        return guided


class _Projection:
    """A running average of differences, limited in norm, without its part along the full prediction."""

    def __init__(self, settings: ProjectedGuidance) -> None:
        self._settings = settings
        self._average: torch.Tensor | None = None

    def __call__(self, difference: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
        if self._average is not None:
            difference = difference + self._settings.momentum * self._average
        self._average = difference
        if self._settings.threshold > 0:
            norm = torch.linalg.vector_norm(difference)
            difference = difference * torch.clamp(self._settings.threshold / norm, max=1.0)
        direction = full.double() / torch.linalg.vector_norm(full.double())
        along = (difference.double() * direction).sum() * direction
        return (difference.double() - along).type_as(difference)
