"""Golden data: what the reference computed on tiny random weights, a safetensors file and a JSON for each subject."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class GoldenFile:
    path: Path  # of the JSON

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.path.with_suffix(".safetensors"))

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `prefix`, without it."""
        return {key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)}

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.under("w/")

    def beside(self, name: str) -> "GoldenFile":
        return GoldenFile(self.path.with_name(f"{name}.json"))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str) -> None:
    """Largest absolute difference at most `tolerance`; shapes and NaN must agree."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    difference = (actual.double() - expected.double()).abs().max().item() if expected.numel() else 0.0
    assert difference <= tolerance, f"{what}: off by {difference:.3g}, allowed {tolerance:.3g}"
