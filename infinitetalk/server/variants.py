"""Variants of the transformer: the files of each, whether they can be loaded, and loading them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infinitetalk.acceleration.compile import stream_blocks
from infinitetalk.acceleration.memory_plan import MemoryPlan
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.files import index_file, listed_tensors, read_json, shard_files
from infinitetalk.checkpoints.header import Fingerprint, Header, Headers, fingerprint
from infinitetalk.checkpoints.load_transformer import LoraFile, load_transformer
from infinitetalk.checkpoints.merge import load_merged, manifest_of
from infinitetalk.checkpoints.pipeline_from_files import sizes_of
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint, InvalidInput
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    speakers: int = 1  # 1 or 2: InfiniteTalk has a file of weights for each
    lora: str | None = "standard"  # a name in `hub.PRESET_LORAS`
    lora_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.lora is not None and self.lora not in hub.PRESET_LORAS:
            raise InvalidInput("lora_unknown", f"There is no LoRA named {self.lora}.")
        if self.speakers not in (1, 2):
            raise InvalidInput("speakers_invalid", "One or two voices can be rendered.")

    @property
    def name(self) -> str:
        """Must match the names in `render.engines.infinitetalk`."""
        scaled = "-scaled" if self.lora is not None and self.lora_scale != 1 else ""
        return f"{self.speakers}-{self.lora or 'none'}{scaled}"


PLAIN_VARIANTS = [Variant(speakers, lora) for speakers in (1, 2) for lora in (None, *hub.PRESET_LORAS)]
# Stand for every other scale: no merged file has them.
SCALED_VARIANTS = [Variant(speakers, lora, 0.0) for speakers in (1, 2) for lora in hub.PRESET_LORAS]
# The files of a variant and their present fingerprints.
Files = tuple[tuple[Path, Fingerprint | None], ...]


class VariantLoader:
    """Loads a variant from its merged file if there is one, otherwise from the published files."""

    def __init__(self, weights: Path, merged: Sequence[Path], dtype: torch.dtype, device: torch.device) -> None:
        """merged: files of `infinitetalk merge`. Raises InvalidCheckpoint or InvalidInput for other files."""
        self._weights = weights
        self._dtype = dtype
        self._device = device
        self._merged = merged
        self._headers = Headers()
        self._base = weights / hub.BASE
        self._index: tuple[Fingerprint | None, dict[str, Path]] = None, {}
        self._contents: dict[Path, tuple[Header, tuple[Variant, bool]]] = {}
        self._left_out: set[Path] = set()
        self._failed: dict[tuple[Path, ...], tuple[Files, str]] = {}  # the failed files and the reason
        for path in merged:
            try:
                self._content(path)
            except OSError:  # The file may be readable later.
                pass
            except InvalidCheckpoint as error:
                if error.code == "not_merged":
                    raise

    def files(self, variant: Variant, plan: MemoryPlan) -> list[Path]:
        """The files that `load` reads. Raises InvalidCheckpoint when a shard of the base is missing."""
        merged = self._find_merged().get((variant, plan.fp8))
        if merged is not None:
            return [merged]
        loras = [lora.path for lora in _lora_files(self._weights, variant)]
        adapter = hub.infinitetalk_file(self._weights, variant.speakers)
        shards = sorted(set(self._listed().values())) or shard_files(self._base)
        return [*shards, adapter, *loras]

    def require(self, variant: Variant, plan: MemoryPlan) -> Files:
        """Check by headers and lengths whether the variant's files can be loaded, and return them.

        Raises InvalidCheckpoint that names the file which is missing or damaged, or which `load` could not load before.
        """
        paths = self.files(variant, plan)
        files = tuple((path, fingerprint(path)) for path in paths)
        headers = {path: self._headers.of(path) for path in paths}
        sizes_of(self._weights)  # A damaged config.json is refused here, and not counted as a failure of `load`.
        if paths[0] not in self._merged:
            for tensor, path in self._listed().items():
                if tensor not in headers[path].keys:
                    raise InvalidCheckpoint("file_damaged", f"{path} lacks {tensor}, which the index beside it lists.")
            for folder in (self._base, self._weights / hub.SPEECH):
                read_json(folder / "config.json")
        failed, why = self._failed.get(tuple(paths), ((), ""))
        if failed == files:
            raise InvalidCheckpoint("file_damaged", why)
        return files

    def note_failure(self, files: Files, why: str) -> None:
        """Let `require` refuse these files, which `load` could not load, until one of them changes."""
        self._failed[tuple(path for path, _ in files)] = files, why

    def unloadable(self, plan: MemoryPlan) -> dict[str, str]:
        """Name of each variant that cannot be loaded now -> the reason."""
        reasons = {}
        for variant in (*PLAIN_VARIANTS, *SCALED_VARIANTS):
            try:
                self.require(variant, plan)
            except InvalidCheckpoint as error:
                reasons[variant.name] = error.detail
        return reasons

    def load(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkTransformer3DModel:
        """Load the variant onto the device; for a streamed plan onto the CPU, from where blocks are copied."""
        device = "cpu" if plan.streamed else str(self._device)
        path = self._find_merged().get((variant, plan.fp8))
        if path is not None:
            transformer = load_merged(path, device=device)
        else:
            logger.warning("No merged file for %s: composing it from the published files", variant)
            # Composed in 16 bits on the CPU: the GPU may have room only for the 8-bit result.
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

    def _listed(self) -> dict[str, Path]:
        """The index of the base, which is long: it is read again only when the file has changed."""
        now = fingerprint(index_file(self._base))
        if self._index[0] != now:
            self._index = now, listed_tensors(self._base)
        return self._index[1]

    def _find_merged(self) -> dict[tuple[Variant, bool], Path]:
        """Variant and whether in 8 bits -> the merged file that has it now.

        A missing or damaged merged file is left out: the published files give the same weights, more slowly.
        """
        merged = {}
        for path in self._merged:
            try:
                merged[self._content(path)] = path
                self._left_out.discard(path)
            except (InfiniteTalkError, OSError) as error:
                if path not in self._left_out:
                    logger.error("The merged file is left out: %s", getattr(error, "detail", error))
                self._left_out.add(path)
        return merged

    def _content(self, path: Path) -> tuple[Variant, bool]:
        header, known = self._headers.of(path), self._contents.get(path)
        if known is not None and known[0] is header:
            return known[1]
        manifest = manifest_of(header, path)
        try:
            content = _variant_of(manifest), manifest["dtype"] == "float8_e4m3fn"
        except (KeyError, TypeError) as error:
            raise InvalidCheckpoint("not_merged", f"{path} has a manifest that cannot be read: {error!r}") from error
        self._contents[path] = header, content
        return content


def _lora_files(weights: Path, variant: Variant) -> list[LoraFile]:
    if variant.lora is None:
        return []
    lora = hub.PRESET_LORAS[variant.lora]
    return [LoraFile(hub.lora_file(weights, lora), lora.scale * variant.lora_scale)]


def _variant_of(manifest: dict[str, Any]) -> Variant:
    """Raises InvalidInput `merged_unknown` for a file with LoRA files other than one preset's."""
    loras = manifest["loras"]
    if not loras:
        return Variant(manifest["speakers"], None)
    names = {Path(lora.file).name: name for name, lora in hub.PRESET_LORAS.items()}
    if len(loras) > 1 or loras[0]["file"] not in names:
        raise InvalidInput("merged_unknown", "A merged file has LoRA files that belong to no preset.")
    name = names[loras[0]["file"]]
    return Variant(manifest["speakers"], name, loras[0]["scale"] / hub.PRESET_LORAS[name].scale)
