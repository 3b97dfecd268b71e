"""Weights in optimum-quanto's format: int8 or float8 data, a scale for each row, and a map of the quantised modules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from infinitetalk.checkpoints.files import read_json, read_safetensors
from infinitetalk.errors import InvalidCheckpoint

KINDS = {"qint8": torch.int8, "qfloat8_e4m3fn": torch.float8_e4m3fn}
_ACTIVATIONS = (".input_scale", ".output_scale")  # not used: they are 1 when activations are not quantised


def read_quantised(path: Path) -> dict[str, torch.Tensor]:
    """The weights in bfloat16. The map is the JSON of the same name beside the file. Raises InvalidCheckpoint."""
    return dequantise(read_safetensors(path), read_json(path.with_suffix(".json")), str(path))


def dequantise(
    tensors: Mapping[str, torch.Tensor], quantisation_map: Mapping[str, Mapping[str, Any]], source: str
) -> dict[str, torch.Tensor]:
    """The weights in bfloat16, in the file's key names. The map says which modules are quantised.

    Raises InvalidCheckpoint when the file and the map contradict each other.
    """
    weights: dict[str, torch.Tensor] = {}
    used = set()
    for module, kind in quantisation_map.items():
        data, scale = tensors.get(f"{module}.weight._data"), tensors.get(f"{module}.weight._scale")
        if data is None or scale is None:
            raise InvalidCheckpoint("quantised_missing", f"{source} has no quantised weight of {module}.")
        name = kind.get("weights") if isinstance(kind, Mapping) else None
        if data.dtype != KINDS.get(name or ""):
            raise InvalidCheckpoint("quantised_kind", f"{source}: {module} is {data.dtype}, its map says {name}.")
        if scale.numel() not in (1, data.shape[0]):
            shapes = f"{tuple(data.shape)} with scales {tuple(scale.shape)}"
            raise InvalidCheckpoint("quantised_shape", f"{source}: {module} is {shapes}.")
        # Rounded twice, to bfloat16 and after the product, as in optimum-quanto.
        weights[f"{module}.weight"] = (data.to(torch.bfloat16) * scale).to(torch.bfloat16)
        used |= {f"{module}.weight._data", f"{module}.weight._scale"}
    for key, tensor in tensors.items():
        if key not in used and not key.endswith(_ACTIVATIONS):
            weights[key] = tensor
    return weights
