"""Which weights a render wants, and where they come from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infinitetalk.acceleration import stream_blocks
from infinitetalk.checkpoints import layout
from infinitetalk.checkpoints.load import LoraFile, load_transformer
from infinitetalk.checkpoints.merge import load_merged, read_manifest
from infinitetalk.checkpoints.read import shard_files
from infinitetalk.errors import InvalidInput
from infinitetalk.memory_plan import MemoryPlan
from infinitetalk.transformer import InfiniteTalkTransformer3DModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    speakers: int = 1  # 1 or 2, each has a file of its own
    lora: str | None = "standard"  # a name of `layout.PRESET_LORAS`
    lora_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.lora is not None and self.lora not in layout.PRESET_LORAS:
            raise InvalidInput("lora_unknown", f"There is no LoRA by the name of {self.lora}.")
        if self.speakers not in (1, 2):
            raise InvalidInput("speakers_invalid", "One or two voices can be rendered.")


class VariantLoader:
    """Loads a variant from a merged file if there is one, else from the published files."""

    def __init__(self, weights: Path, merged: Sequence[Path], dtype: torch.dtype, device: torch.device) -> None:
        """merged: files of `infinitetalk merge`. Raises InvalidCheckpoint."""
        self._weights = weights
        self._dtype = dtype
        self._device = device
        self._merged: dict[tuple[Variant, bool], Path] = {}
        for path in merged:
            manifest = read_manifest(path)
            self._merged[_variant_of(manifest), manifest["dtype"] == "float8_e4m3fn"] = path

    def files(self, variant: Variant, plan: MemoryPlan) -> list[Path]:
        """What `load` reads."""
        merged = self._merged.get((variant, plan.fp8))
        if merged is not None:
            return [merged]
        loras = [lora.path for lora in _lora_files(self._weights, variant)]
        adapter = layout.infinitetalk_file(self._weights, variant.speakers)
        return [*shard_files(self._weights / layout.BASE), adapter, *loras]

    def load(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkTransformer3DModel:
        """Onto the device, or where the plan says so, onto the CPU and from there block by block."""
        device = "cpu" if plan.streamed else str(self._device)
        path = self._merged.get((variant, plan.fp8))
        if path is not None:
            transformer = load_merged(path, device=device)
        else:
            logger.warning("No merged file for %s: composing it from the published files", variant)
            # In 8 bits it may fit where in 16 it does not.
            composed_on = "cpu" if plan.fp8 else device
            transformer = load_transformer(
                self._weights,
                speakers=variant.speakers,
                loras=_lora_files(self._weights, variant),
                dtype=self._dtype,
                fp8=plan.fp8,
                device=composed_on,
            )
        if plan.streamed:
            stream_blocks(transformer, self._device)
        else:
            transformer.to(self._device)
        return transformer


def _lora_files(weights: Path, variant: Variant) -> list[LoraFile]:
    if variant.lora is None:
        return []
    lora = layout.PRESET_LORAS[variant.lora]
    return [LoraFile(layout.lora_file(weights, lora), lora.scale * variant.lora_scale)]


def _variant_of(manifest: dict[str, Any]) -> Variant:
    """Raises InvalidInput `merged_unknown` for a file with other LoRA files than one of a preset."""
    loras = manifest["loras"]
    if not loras:
        return Variant(manifest["speakers"], None)
    names = {Path(lora.file).name: name for name, lora in layout.PRESET_LORAS.items()}
    if len(loras) > 1 or loras[0]["file"] not in names:
        raise InvalidInput("merged_unknown", "A merged file holds LoRA files that belong to no preset.")
    name = names[loras[0]["file"]]
    return Variant(manifest["speakers"], name, loras[0]["scale"] / layout.PRESET_LORAS[name].scale)
