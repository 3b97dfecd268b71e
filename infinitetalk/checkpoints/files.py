"""Files of weights, memory-mapped: nothing is copied until a tensor is used. Damaged files are named."""

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from infinitetalk.checkpoints import hub
from infinitetalk.errors import InvalidCheckpoint

Tensors = dict[str, torch.Tensor]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<total>\d+)\.safetensors")


def read_safetensors(path: Path, device: str = "cpu") -> Tensors:
    """Raises InvalidCheckpoint `file_missing` or `file_damaged`."""
    require_file(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is damaged or incomplete: {error}") from error


def read_shards(folder: Path, stem: str = "diffusion_pytorch_model") -> Tensors:
    """All shards of a model. Raises InvalidCheckpoint also when one of them is not there."""
    tensors: Tensors = {}
    for path in shard_files(folder, stem):
        tensors |= read_safetensors(path)
    return tensors


def shard_files(folder: Path, stem: str = "diffusion_pytorch_model") -> list[Path]:
    """The files of a model, as its index lists them or, where none lies beside them, as their names count them.

    Raises InvalidCheckpoint `file_missing` that names what is not there, or `shards_mixed`.
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
    """The index of a model: each tensor's file. Empty where there is no index. Raises InvalidCheckpoint."""
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
    """A torch file that holds a flat dictionary of tensors and nothing that could run."""
    require_file(path)
    try:
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
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
    """Raises InvalidCheckpoint when the file is missing, no JSON or no object."""
    require_file(path)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidCheckpoint("file_damaged", f"{path} is no JSON: {error}") from error
    if not isinstance(facts, dict):
        raise InvalidCheckpoint("file_damaged", f"{path} holds no JSON object.")
    return facts


def require_file(path: Path) -> None:
    if not path.is_file():
        partial = path.with_name(f"{path.name}{hub.PARTIAL}")
        why = ""
        if path.is_symlink():
            why = " It is a link to a file that is not there."
        elif partial.is_file():
            why = f" Its download has not ended, see {partial.name}: run `download` again."
        raise InvalidCheckpoint("file_missing", f"There is no file {path}.{why}")
