"""Linear layers whose weights are stored in 8-bit floating point (E4M3), with one scale for each row."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import ScalingType

STORED = torch.float8_e4m3fn
LARGEST = torch.finfo(STORED).max  # 448
SCALE = "weight_scale"
TENSOR_CORES = (8, 9)  # the lowest CUDA compute capability that multiplies in 8 bits
ALIGNMENT = 16  # both sides of a weight must be multiples of it to be multiplied in 8 bits


class Float8Linear(nn.Module):
    """Takes half the memory of bfloat16. It multiplies bfloat16 states in 8 bits where the device has tensor cores for
    it; otherwise the weight is widened for each use.
    """

    in_eight_bits: bool | None = None  # whether to multiply in 8 bits; None: if the device can

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.aligned = in_features % ALIGNMENT == 0 and out_features % ALIGNMENT == 0
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=STORED), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.empty(out_features, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """states: ..., in_features. Returns ..., out_features in the dtype of the states."""
        if self.aligned and states.dtype == torch.bfloat16:
            in_eight_bits = self.in_eight_bits
            if in_eight_bits is None:
                in_eight_bits = multiplies_eight_bits(self.weight.device)
            if in_eight_bits:
                return self._multiply_eight_bits(states)
        weight = self.weight.to(states.dtype) * self.weight_scale.to(states.dtype)
        return F.linear(states, weight, self.bias.to(states.dtype))

    def _multiply_eight_bits(self, states: torch.Tensor) -> torch.Tensor:
        rows, scale = quantise_rows(states.reshape(-1, states.shape[-1]))
        out = F.scaled_mm(
            rows,
            self.weight.t(),
            scale,
            ScalingType.RowWise,
            self.weight_scale.float().t(),
            ScalingType.RowWise,
            bias=self.bias.to(states.dtype),  # CUDA requires the dtype of the output.
            output_dtype=states.dtype,
            use_fast_accum=True,  # Its rounding error is far smaller than that of 8 bits.
        )
        return out.view(*states.shape[:-1], -1)


@torch.compiler.assume_constant_result
def multiplies_eight_bits(device: torch.device) -> bool:
    """Whether the device has tensor cores for 8-bit floating point."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= TENSOR_CORES


def quantise_rows(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """rows, width -> the values in E4M3, and the scales (rows, 1) in float32 to multiply them with."""
    # The largest value is exact in any dtype; only the division needs float32.
    scale = states.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (states / scale).to(STORED), scale


def is_large_linear(key: str, tensor: torch.Tensor) -> bool:
    """Whether it is the weight of a block's linear layer: nearly all of the model, and the part that stands 8 bits."""
    return key.startswith("blocks.") and key.endswith(".weight") and tensor.ndim == 2


def to_float8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """out, in -> the stored weight, its scales (out, 1) and the relative error in the L2 norm."""
    wide = weight.float()
    stored, scale = quantise_rows(wide)
    error = (stored.float() * scale - wide).norm() / wide.norm().clamp(min=1e-12)
    return stored, scale, error.item()


def use_float8_linears(model: nn.Module, keys: Iterable[str]) -> None:
    """Replace the linear layers of these keys of weights. Call it on the meta device, before loading."""
    for key in keys:
        name = key.removesuffix(".weight")
        parent, _, child = name.rpartition(".")
        linear = cast(nn.Linear, model.get_submodule(name))
        with torch.device("meta"):
            replacement = Float8Linear(linear.in_features, linear.out_features)
        model.get_submodule(parent).register_module(child, replacement)


def quantise_blocks(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    """Store the blocks' large weights in 8 bits, in place; returns the relative error of each, in the L2 norm."""
    errors = {}
    for key in [key for key, tensor in tensors.items() if is_large_linear(key, tensor)]:
        stored, scale, errors[key] = to_float8(tensors.pop(key))
        tensors[key], tensors[f"{key.removesuffix('weight')}{SCALE}"] = stored, scale
    return errors
