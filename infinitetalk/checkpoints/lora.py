"""Merging LoRA files (arXiv:2106.09685) into weights, in the formats that exist for Wan2.1.

    diffusion_model.X.lora_down.weight, .lora_up.weight      X.weight += scale * up @ down
    diffusion_model.X.lora_A.weight, .lora_B.weight          the same
    lora_unet_X_with_underscores.lora_down.weight, ...       the same, times alpha / rank
    diffusion_model.X.diff, .diff_b, .diff_m                 a plain difference of weight, bias or modulation

X is a name of the original files or of diffusers. In every format, an `alpha` beside a pair scales the pair by
alpha / rank; without an `alpha` the factor is 1. The reference ignores alphas, see `reference_compatible`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from infinitetalk.checkpoints.convert import transformer_key
from infinitetalk.errors import InvalidCheckpoint, InvalidInput

_PREFIXES = ("diffusion_model.", "transformer.")
_KOHYA = "lora_unet_"
_SUFFIXES = {
    ".lora_down.weight": "down",
    ".lora_A.weight": "down",
    ".lora_A.default.weight": "down",
    ".lora_up.weight": "up",
    ".lora_B.weight": "up",
    ".lora_B.default.weight": "up",
    ".alpha": "alpha",
    ".diff": "weight",
    ".diff_b": "bias",
    ".diff_m": "modulation",
}
# Other methods (DoRA, LoHa, LoKr, CP decomposition): merged as plain pairs they would give a wrong model.
_OTHER_METHODS = re.compile(r".*\.(dora_scale|lora_magnitude_vector(\..*)?|lora_mid\.weight|hada_.*|lokr_.*)")


@dataclass
class LoraReport:
    """The tensors that changed, and the tensors of the file that changed nothing."""

    changed: list[str] = field(default_factory=list)  # our key names
    unused: list[str] = field(default_factory=list)  # the file's key names


def merge_lora(
    weights: dict[str, torch.Tensor],
    lora: Mapping[str, torch.Tensor],
    scale: float,
    source: str,
    *,
    reference_compatible: bool = False,
) -> LoraReport:
    """Replace entries of `weights` (our key names) by merged tensors, computed in float32 and rounded once.

    reference_compatible: ignore the parts of a file that the reference ignores: alphas, modulation, the names lora_A
    and lora_B, names without a prefix, and halves of pairs.

    Raises InvalidCheckpoint when the file names a target that the model does not have, a pair is incomplete or has
    another shape, the file is of another method, or the weights are stored in 8 bits. Then nothing has been changed.
    Raises InvalidInput when the scale is not finite.
    """
    if not math.isfinite(scale):
        raise InvalidInput("lora_scale", f"The scale of {source} must be finite, not {scale}.")
    others = sorted(name for name in lora if _OTHER_METHODS.fullmatch(name))
    if others:
        raise InvalidCheckpoint("lora_kind", f"{source} is not a plain LoRA file: {', '.join(others[:10])}")
    report = LoraReport()
    if reference_compatible:
        lora, report.unused = _as_the_reference_reads(lora)
    updates = _grouped(lora, weights, report, source)
    for key, parts in updates.items():  # All before the first change, so that a refused file changes nothing.
        _check(key, parts, weights[key], source)
    for key, parts in updates.items():
        if parts.keys() == {"alpha"}:
            continue
        target = weights[key]
        wide = target.float()
        if "down" in parts:
            down = parts["down"].to(target.device, torch.float32)
            up = parts["up"].to(target.device, torch.float32)
            factor = float(parts["alpha"]) / down.shape[0] if "alpha" in parts else 1.0
            wide = wide + scale * factor * (up.flatten(1) @ down.flatten(1)).reshape(target.shape)
        if "diff" in parts:
            wide = wide + scale * parts["diff"].to(target.device, torch.float32).reshape(target.shape)
        weights[key] = wide.to(target.dtype)
        report.changed.append(key)
    return report


def _check(key: str, parts: Mapping[str, torch.Tensor], target: torch.Tensor, source: str) -> None:
    if target.dtype.itemsize == 1:
        raise InvalidCheckpoint(
            "lora_quantised", f"{source}: {key} is stored in 8 bits. Merge LoRA files before storing weights in 8 bits."
        )
    if ("down" in parts) != ("up" in parts):
        raise InvalidCheckpoint("lora_incomplete", f"{source} has only one half of the pair for {key}.")
    if "alpha" in parts and parts["alpha"].numel() != 1:
        raise InvalidCheckpoint("lora_shape", f"{source}: the alpha of {key} is {tuple(parts['alpha'].shape)}.")
    if "down" in parts:
        down, up = parts["down"], parts["up"]
        # Each side is compared: the product may have the right number of values and be the transpose.
        expected = [target.shape[0], target.numel() // target.shape[0]]
        if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.flatten(1).shape[1]:
            raise InvalidCheckpoint(
                "lora_shape", f"{source}: the pair for {key} is {tuple(up.shape)} and {tuple(down.shape)}."
            )
        if [up.shape[0], down.flatten(1).shape[1]] != expected:
            raise InvalidCheckpoint(
                "lora_shape",
                f"{source}: {key} is {tuple(target.shape)}, not {(up.shape[0], down.flatten(1).shape[1])}.",
            )
    if "diff" in parts and not _agree(parts["diff"], target):
        raise InvalidCheckpoint(
            "lora_shape", f"{source}: {key} is {tuple(target.shape)}, not {tuple(parts['diff'].shape)}."
        )


def _agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the shapes are equal, apart from sides of length one."""
    return [side for side in one.shape if side != 1] == [side for side in other.shape if side != 1]


def _as_the_reference_reads(
    lora: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[str]]:
    def is_read(name: str) -> bool:
        if not name.startswith(_PREFIXES[0]) or name.endswith((".alpha", ".diff_m")) or ".lora_A." in name:
            return False
        down, up = ".lora_down.weight", ".lora_up.weight"
        other = name.replace(down, up) if name.endswith(down) else name.replace(up, down)
        return ".lora_B." not in name and other in lora

    read = {name: tensor for name, tensor in lora.items() if is_read(name)}
    return read, sorted(lora.keys() - read.keys())


def _grouped(
    lora: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], report: LoraReport, source: str
) -> dict[str, dict[str, torch.Tensor]]:
    """Our key -> kind (down, up, alpha or diff) -> tensor. Adds tensors that change nothing to the report."""
    modules = [key.removesuffix(".weight") for key in weights]
    kohya = {module.replace(".", "_"): module for module in modules}
    updates: dict[str, dict[str, torch.Tensor]] = {}
    unknown = []
    for name, tensor in lora.items():
        stem, part = _split(name)
        if part is None:
            report.unused.append(name)
            continue
        key = _target(stem, "weight" if part in ("down", "up", "alpha") else part, kohya)
        if key not in weights:
            unknown.append(name)
            continue
        if part == "modulation" and not _agree(weights[key], tensor):
            report.unused.append(name)
            continue
        kind = part if part in ("down", "up", "alpha") else "diff"
        parts = updates.setdefault(key, {})
        if kind in parts:
            raise InvalidCheckpoint("lora_duplicate", f"{source} changes {key} twice, the second time by {name}.")
        parts[kind] = tensor
    for parts in updates.values():
        if "alpha" in parts and not {"down", "up"} & parts.keys():
            report.unused += [name for name, tensor in lora.items() if tensor is parts["alpha"]]
    if unknown:
        shown = ", ".join(sorted(unknown)[:10])
        raise InvalidCheckpoint("lora_target", f"{source} changes tensors that the model does not have: {shown}")
    return updates


def _split(name: str) -> tuple[str, str | None]:
    for suffix, part in _SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), part
    return name, None


def _target(stem: str, part: str, kohya: Mapping[str, str]) -> str:
    """Our key for a module's weight, bias or modulation; an unknown name is returned unchanged."""
    for prefix in _PREFIXES:
        stem = stem.removeprefix(prefix)
    if part == "modulation":
        return transformer_key(f"{stem}.modulation") or f"{stem}.scale_shift_table"
    if stem.startswith(_KOHYA):
        flat = stem.removeprefix(_KOHYA)
        original = _from_kohya(flat)
        return transformer_key(f"{original}.{part}") or f"{kohya.get(flat, flat)}.{part}"
    return transformer_key(f"{stem}.{part}") or f"{stem}.{part}"


def _from_kohya(flat: str) -> str:
    """blocks_3_self_attn_q -> blocks.3.self_attn.q, in the original files' names."""
    name = re.sub(r"^blocks_(\d+)_", r"blocks.\1.", flat)
    name = re.sub(r"(self_attn|cross_attn|audio_cross_attn|ffn|img_emb_proj)_", r"\1.", name)
    name = name.replace("img_emb_proj.", "img_emb.proj.")
    return re.sub(r"^(text_embedding|time_embedding|time_projection|head|audio_proj)_", r"\1.", name)
