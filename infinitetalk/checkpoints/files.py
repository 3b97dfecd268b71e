"""Reading files of weights and putting their tensors into modules; errors name the file and the keys.

The files are memory-mapped: nothing is copied until a tensor is used.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from infinitetalk.checkpoints import hub
from infinitetalk.errors import InvalidCheckpoint

Tensors = dict[str, torch.Tensor]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<total>\d+)\.safetensors")


def read_safetensors(path: Path, device: str = "cpu") -> Tensors:
    """Raises InvalidCheckpoint `file_missing` or `file_damaged`."""
    require_file(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is damaged or incomplete: {error}") from error


def read_shards(folder: Path, stem: str = "diffusion_pytorch_model") -> Tensors:
    """The tensors of all shards of a model. Raises InvalidCheckpoint, also when a shard is missing."""
    tensors: Tensors = {}
    for path in shard_files(folder, stem):
        tensors |= read_safetensors(path)
    return tensors


def shard_files(folder: Path, stem: str = "diffusion_pytorch_model") -> list[Path]:
    """The files of a model: those that its index lists or, without an index, STEM-1-of-N to STEM-N-of-N.

    Raises InvalidCheckpoint `file_missing` that names the missing shards, or `shards_mixed`.
    """
    if listed := listed_tensors(folder, stem):
        return sorted(set(listed.values()))
    shards = {}
    totals = set()
    for path in folder.glob(f"{stem}-*.safetensors"):
        if match := _SHARD.fullmatch(path.name):
            shards[int(match["number"])] = path
            totals.add(int(match["total"]))
    if len(totals) > 1:
        counts = " and ".join(map(str, sorted(totals)))
        raise InvalidCheckpoint("shards_mixed", f"{folder} holds shards of different sets: of {counts}.")
    total = max(totals, default=0)
    missing = sorted(set(range(1, total + 1)) - shards.keys())
    if not shards or missing:
        which = f"shards {', '.join(map(str, missing))} of {total}" if shards else f"{stem}-*.safetensors"
        raise InvalidCheckpoint("file_missing", f"{folder} lacks {which}.")
    return [shards[number] for number in sorted(shards)]


def index_file(folder: Path, stem: str = "diffusion_pytorch_model") -> Path:
    return folder / f"{stem}.safetensors.index.json"


def listed_tensors(folder: Path, stem: str = "diffusion_pytorch_model") -> dict[str, Path]:
    """Name of each tensor -> its file, as the model's index says; empty without an index. Raises InvalidCheckpoint."""
    index = index_file(folder, stem)
    if not index.is_file():
        return {}
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidCheckpoint("file_damaged", f"{index} lists no files.")
    names = sorted({str(name) for name in weight_map.values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise InvalidCheckpoint("file_damaged", f"{index} lists files outside its folder: {', '.join(outside)}.")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise InvalidCheckpoint("file_missing", f"{index.parent} lacks {', '.join(missing)}.")
    return {tensor: index.parent / str(name) for tensor, name in weight_map.items()}


def read_pth(path: Path) -> Tensors:
    """A torch file with a flat dictionary of tensors. Pickled code is refused. Raises InvalidCheckpoint."""
    require_file(path)
    try:
        # Only zip archives can be memory-mapped; torch before 1.6 wrote others.
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is damaged or not a file of weights: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise InvalidCheckpoint("file_damaged", f"{path} does not hold a flat dictionary of tensors.")
    return tensors


def require_finite(tensors: Tensors, source: str) -> None:
    """Raises InvalidCheckpoint `nan_weights` that names the tensors with NaN or infinite values."""
    # The sum of a tensor is not finite when one of its values is not.
    broken = [
        key
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor.float().sum())
    ]
    if broken:
        raise InvalidCheckpoint("nan_weights", f"{source} holds NaN or infinite values: {', '.join(broken[:10])}")


def read_json(path: Path) -> dict[str, Any]:
    """Raises InvalidCheckpoint when the file is missing, is not JSON or holds no JSON object."""
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidCheckpoint("file_damaged", f"{path} holds no JSON object.")
    return content


def require_file(path: Path) -> None:
    """Raises InvalidCheckpoint `file_missing`, with the reason where one is known."""
    if not path.is_file():
        partial = path.with_name(f"{path.name}{hub.PARTIAL}")
        why = ""
        if path.is_symlink():
            why = " It is a link to a file that is not there."
        elif partial.is_file():
            why = f" Its download has not ended, see {partial.name}: run `download` again."
        raise InvalidCheckpoint("file_missing", f"There is no file {path}.{why}")


def load_strictly(module: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Make the tensors the module's parameters and buffers, without a copy. The module may be on the meta device.

    Raises InvalidCheckpoint `wrong_keys` that names the keys which are missing, unexpected or of another shape.
    """
    expected = module.state_dict()
    problems = []
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    shapes = [
        f"{key} is {tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & tensors.keys())
        if tensors[key].shape != expected[key].shape
    ]
    for title, keys in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)):
        if keys:
            more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
            problems.append(f"{title}: {', '.join(keys[:10])}{more}")
    if problems:
        raise InvalidCheckpoint("wrong_keys", f"{source} does not fit: {'; '.join(problems)}")
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def tensor_shape(tensors: Tensors, key: str, path: Path) -> torch.Size:
    """Raises InvalidCheckpoint `wrong_keys`."""
    if key not in tensors:
        raise InvalidCheckpoint("wrong_keys", f"{path} has no {key}.")
    return tensors[key].shape
