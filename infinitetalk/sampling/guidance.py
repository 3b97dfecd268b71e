"""Guidance by text and by voice, plain or projected, without passes that change nothing.

Projected guidance: "Eliminating Oversaturation and Artifacts of High Guidance Scales" (APG), arXiv:2410.02416.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch


class Branch(StrEnum):
    """One pass of the transformer in a step, by its inputs."""

    FULL = "full"  # prompt and voice
    NO_AUDIO = "no_audio"  # the prompt, and zeros for the voice
    NO_TEXT = "no_text"  # the negative prompt, and the voice
    UNCONDITIONAL = "unconditional"  # the negative prompt, and zeros for the voice

    @property
    def with_audio(self) -> bool:
        return self in (Branch.FULL, Branch.NO_TEXT)

    @property
    def with_text(self) -> bool:
        return self in (Branch.FULL, Branch.NO_AUDIO)


@dataclass(frozen=True)
class AdaptiveProjectedGuidance:
    momentum: float = -0.75  # share of the running average that is added to each new difference
    threshold: float = 55.0  # largest norm of an update; 0 or less: no limit


@dataclass(frozen=True)
class GuidanceScales:
    """1 is no guidance."""

    text: float
    audio: float

    def branches(self) -> list[Branch]:
        """The passes of one step. With a scale of 1 a difference counts nothing, so its pass is left out."""
        if self.text == 1:
            return [Branch.FULL] if self.audio == 1 else [Branch.FULL, Branch.NO_AUDIO]
        if self.audio == 1:
            return [Branch.FULL, Branch.NO_TEXT]
        return [Branch.FULL, Branch.NO_TEXT, Branch.UNCONDITIONAL]


class Guidance:
    """Combines the passes of a step. It keeps running averages (projected guidance): make a new one for each chunk."""

    def __init__(self, scales: GuidanceScales, projected: AdaptiveProjectedGuidance | None = None) -> None:
        self.scales = scales
        self.branches = scales.branches()
        self._text = _Projection(projected) if projected else None
        self._audio = _Projection(projected) if projected else None

    def __call__(self, velocities: Mapping[Branch, torch.Tensor]) -> torch.Tensor:
        """velocities: of each of `branches`, 1, C, T, H, W. Returns the guided velocity, of the same shape."""
        full = velocities[Branch.FULL]
        text = full - velocities[Branch.NO_TEXT] if Branch.NO_TEXT in velocities else None
        without_audio = velocities.get(Branch.NO_AUDIO, velocities.get(Branch.UNCONDITIONAL))
        audio = None
        if without_audio is not None:
            audio = velocities.get(Branch.NO_TEXT, full) - without_audio

        # `full` contains each difference once, so each is added (scale - 1) times.
        guided = full
        if text is not None:
            guided = guided + (self.scales.text - 1) * (self._text(text, full) if self._text else text)
        if audio is not None:
            guided = guided + (self.scales.audio - 1) * (self._audio(audio, full) if self._audio else audio)
        return guided


class _Projection:
    """A running average of differences, limited in norm, without its component along the full velocity.

    diffusers' `normalized_guidance` is not used. It takes two velocities and projects their difference along the first,
    but with three branches the voice's difference is between two others. To give it full and full - difference costs
    digits: the update is 6e-6 off where differences are 1 % of the velocity, and this class 0.
    """

    def __init__(self, settings: AdaptiveProjectedGuidance) -> None:
        self._settings = settings
        self._average: torch.Tensor | None = None

    def __call__(self, difference: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
        """difference, full: 1, C, T, H, W. Returns the update, of the same shape and dtype as the difference."""
        if self._average is not None:
            difference = difference + self._settings.momentum * self._average
        self._average = difference
        if self._settings.threshold > 0:
            norm = torch.linalg.vector_norm(difference)
            difference = difference * torch.clamp(self._settings.threshold / norm, max=1.0)
        direction = full.double() / torch.linalg.vector_norm(full.double())
        along = (difference.double() * direction).sum() * direction
        return (difference.double() - along).type_as(difference)
