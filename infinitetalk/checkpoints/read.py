"""Files of weights, memory-mapped: nothing is copied until a tensor is used. Damaged files are named."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from infinitetalk.errors import InvalidCheckpoint

Tensors = dict[str, torch.Tensor]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<total>\d+)\.safetensors")


def read_safetensors(path: Path, device: str = "cpu") -> Tensors:
    """Raises InvalidCheckpoint `file_missing` or `file_damaged`."""
    _require(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is damaged or incomplete: {error}") from error


def read_shards(folder: Path, stem: str = "diffusion_pytorch_model") -> Tensors:
    """All shards of a model. Raises InvalidCheckpoint also when one of them is not there."""
    shards = {}
    total = 0
    for path in folder.glob(f"{stem}-*.safetensors"):
        if match := _SHARD.fullmatch(path.name):
            shards[int(match["number"])] = path
            total = int(match["total"])
    missing = sorted(set(range(1, total + 1)) - shards.keys())
    if not shards or missing:
        which = f"shards {', '.join(map(str, missing))} of {total}" if shards else f"{stem}-*.safetensors"
        raise InvalidCheckpoint("file_missing", f"{folder} lacks {which}.")
    tensors: Tensors = {}
    for number in sorted(shards):
        tensors |= read_safetensors(shards[number])
    return tensors


def read_pth(path: Path) -> Tensors:
    """A torch file that holds a flat dictionary of tensors and nothing that could run."""
    _require(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is damaged or no file of weights: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise InvalidCheckpoint("file_damaged", f"{path} does not hold a flat dictionary of tensors.")
    return tensors


def require_finite(tensors: Tensors, source: str) -> None:
    """Raises InvalidCheckpoint `nan_weights` that names the tensors."""
    # One sum a tensor: a single NaN or infinity makes it one.
    broken = [
        key
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor.float().sum())
    ]
    if broken:
        raise InvalidCheckpoint("nan_weights", f"{source} holds values that are no numbers: {', '.join(broken[:10])}")


def read_json(path: Path) -> dict[str, Any]:
    _require(path)
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is no JSON: {error}") from error
    return facts


def _require(path: Path) -> None:
    if not path.is_file():
        raise InvalidCheckpoint("file_missing", f"There is no file {path}.")
