"""Linear layers whose weights are stored in 8-bit floating point (E4M3), with one scale for each row."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

STORED = torch.float8_e4m3fn
SCALE = "weight_scale"


class Float8Linear(nn.Module):
    """Half the memory of bfloat16; the weight is widened as it is used."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=STORED), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.empty(out_features, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to(states.dtype) * self.weight_scale.to(states.dtype)
        return F.linear(states, weight, self.bias.to(states.dtype))


def is_large_linear(key: str, tensor: torch.Tensor) -> bool:
    """Weights of the blocks' linear layers: nearly all of the model, and what stands 8 bits."""
    return key.startswith("blocks.") and key.endswith(".weight") and tensor.ndim == 2


def to_float8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """out, in -> the stored weight, its scales (out, 1) and the relative error in the L2 norm."""
    wide = weight.float()
    scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / torch.finfo(STORED).max
    stored = (wide / scale).to(STORED)
    error = (stored.float() * scale - wide).norm() / wide.norm().clamp(min=1e-12)
    return stored, scale, error.item()


def use_float8_linears(model: nn.Module, keys: Iterable[str]) -> None:
    """Replace the layers that these keys of weights belong to; on the meta device, before loading."""
    for key in keys:
        name = key.removesuffix(".weight")
        parent, _, child = name.rpartition(".")
        linear = cast(nn.Linear, model.get_submodule(name))
        with torch.device("meta"):
            replacement = Float8Linear(linear.in_features, linear.out_features)
        model.get_submodule(parent).register_module(child, replacement)
