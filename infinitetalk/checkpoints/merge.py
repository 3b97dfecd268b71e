"""`python -m infinitetalk merge`: base, InfiniteTalk and LoRA files in one file, quick to load; optionally in 8 bits.

It is a safetensors file in our key names. Its metadata has a manifest: the transformer's arguments, the sources with
their hashes, and the rounding error of 8 bits.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from infinitetalk.acceleration.fp8 import quantise_blocks
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.files import load_strictly, require_finite, shard_files
from infinitetalk.checkpoints.header import Header, read_header
from infinitetalk.checkpoints.load_transformer import LoraFile, empty_transformer, read_transformer
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

FORMAT = "infinitetalk-merged-1"
READERS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="the folder of `download`")
    parser.add_argument("--speakers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--preset", choices=sorted(hub.PRESET_LORAS), help="merge the LoRA of this preset")
    parser.add_argument("--lora", type=_lora, action="append", default=[], metavar="FILE[:SCALE]", help="and others")
    parser.add_argument("--fp8", action="store_true", help="store the blocks' linear layers in 8 bits")
    parser.add_argument("-o", "--output", type=Path, required=True)


def run(options: argparse.Namespace) -> int:
    loras = list(options.lora)
    if options.preset:
        lora = hub.PRESET_LORAS[options.preset]
        loras.insert(0, LoraFile(hub.lora_file(options.weights, lora), lora.scale))
    manifest = merge(options.weights, options.output, speakers=options.speakers, loras=loras, fp8=options.fp8)
    long = ("arguments", "fp8_relative_errors")
    print(json.dumps({key: value for key, value in manifest.items() if key not in long}, indent=1))
    return 0


def merge(
    weights: Path, output: Path, *, speakers: int = 1, loras: Sequence[LoraFile] = (), fp8: bool = False
) -> dict[str, Any]:
    """Write the merged file and return its manifest. Raises InvalidCheckpoint, and InfiniteTalkError `cannot_write`.

    Its errors of 8 bits are relative errors in the L2 norm of each tensor.
    """
    try:  # before the minutes that reading takes
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(output, error) from error
    arguments, tensors, reports = read_transformer(weights, speakers=speakers, loras=loras)
    errors = quantise_blocks(tensors) if fp8 else {}
    manifest = {
        "format": FORMAT,
        "arguments": arguments,
        "dtype": "float8_e4m3fn" if fp8 else "bfloat16",
        "speakers": speakers,
        "sources": {
            str(path.relative_to(weights)): _sha256(path)
            for path in (
                *shard_files(weights / hub.BASE),
                hub.infinitetalk_file(weights, speakers),
            )
        },
        "loras": [
            {
                "file": lora.path.name,
                "sha256": _sha256(lora.path),
                "scale": lora.scale,
                "changed": len(report.changed),
                "unused": report.unused,
            }
            for lora, report in zip(loras, reports, strict=True)
        ],
        "fp8_relative_error": {"mean": sum(errors.values()) / len(errors), "max": max(errors.values())}
        if errors
        else None,
        "fp8_relative_errors": errors,
    }
    partial = output.with_name(f"{output.name}.partial")
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    try:
        save_file(contiguous, partial, {"manifest": json.dumps(manifest)})
        partial.replace(output)
    except (SafetensorError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise _cannot_write(output, error) from error
    return manifest


def _cannot_write(output: Path, error: Exception) -> InfiniteTalkError:
    return InfiniteTalkError("cannot_write", f"{output} cannot be written: {error}")


def load_merged(path: Path, *, device: str = "cpu") -> InfiniteTalkTransformer3DModel:
    """Several tensors at a time are read directly onto the device. Raises InvalidCheckpoint."""
    manifest = read_manifest(path)
    try:
        tensors = _read_parallel(path, device)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    require_finite(tensors, str(path))
    try:
        model = empty_transformer(manifest["arguments"], tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path}: the manifest does not fit the weights: {error}") from error
    load_strictly(model, tensors, str(path))
    return model.eval()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest that `merge` wrote. Raises InvalidCheckpoint."""
    return manifest_of(read_header(path), path)


def _read_parallel(path: Path, device: str) -> dict[str, torch.Tensor]:
    """With READERS threads: a single one waits for each page and does not use the disk's full rate."""
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())

    def read(part: list[str]) -> list[tuple[str, torch.Tensor]]:
        with safe_open(path, framework="pt", device=device) as file:
            return [(key, file.get_tensor(key)) for key in part]

    with ThreadPoolExecutor(READERS) as pool:
        parts = pool.map(read, [keys[number::READERS] for number in range(READERS)])
        tensors = dict(pair for part in parts for pair in part)
    return {key: tensors[key] for key in keys}


def _damaged(path: Path, error: Exception) -> InvalidCheckpoint:
    return InvalidCheckpoint("file_damaged", f"{path} is missing, damaged or incomplete: {error}")


def manifest_of(header: Header, path: Path) -> dict[str, Any]:
    """Raises InvalidCheckpoint `not_merged`."""
    try:
        manifest = json.loads(header.metadata.get("manifest", "{}"))
    except ValueError:
        manifest = {}
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InvalidCheckpoint("not_merged", f"{path} was not written by `infinitetalk merge`.")
    return manifest


def _lora(text: str) -> LoraFile:
    path, _, scale = text.rpartition(":")
    return LoraFile(Path(path), float(scale)) if path else LoraFile(Path(text), 1.0)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
