"""The networks of the model server: loaded at its start, kept, and exchanged when a job needs other weights."""

import gc
import logging
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import torch

from infinitetalk.acceleration.attention_backends import use_attention
from infinitetalk.acceleration.compile import compile_blocks
from infinitetalk.acceleration.memory_plan import PLANS, MemoryPlan
from infinitetalk.checkpoints.load_encoders import Encoders, load_encoders
from infinitetalk.checkpoints.pipeline_from_files import make_pipeline
from infinitetalk.errors import AttentionUnavailable, InvalidCheckpoint, InvalidInput
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import InfiniteTalkPipeline
from infinitetalk.server.runtime_options import RuntimeOptions
from infinitetalk.server.variants import PLAIN_VARIANTS, Variant, VariantLoader

logger = logging.getLogger(__name__)

# Errors of loading that do not mean that the files are bad.
_NOT_OF_FILES = (
    torch.OutOfMemoryError,
    torch.AcceleratorError,
    OSError,
    MemoryError,
    InvalidInput,
    AttentionUnavailable,
)


class Readiness(StrEnum):
    """States in `/health`, which adds `busy`; the service reads them."""

    LOADING = "loading"
    READY = "ready"


class LoadedModel:
    """Holds one variant of the transformer, under one memory plan, and the encoders."""

    def __init__(self, weights: Path, loader: VariantLoader, runtime: RuntimeOptions, plan: MemoryPlan) -> None:
        self.plan = plan  # of the loaded transformer, or of the one that is being loaded
        self.variant: Variant | None = None  # the same
        self.loads = 0  # number of transformers loaded since the start
        self.runtime = runtime
        self._weights = weights
        self._loader = loader
        self._usual_plan = plan
        self._pipeline: InfiniteTalkPipeline | None = None
        self._last_good: tuple[Variant, MemoryPlan] | None = None  # the last ones that could be loaded
        self._unloadable: dict[str, str] = {}  # result of the last check of the files
        self._loading = threading.Lock()

    def start(self, variant: Variant) -> "Future[None]":
        """Start to load the encoders and the transformer at the same time; the future ends when both are loaded.

        A job that comes meanwhile has its voice and prompt encoded as soon as the encoders are loaded.
        """
        pool = ThreadPoolExecutor(2, thread_name_prefix="load")
        self._encoders = pool.submit(self._load_encoders)
        whole = pool.submit(self._load_first, variant)
        pool.shutdown(wait=False)
        return whole

    @property
    def readiness(self) -> Readiness:
        # Once a variant has been loaded, the server stays ready, also when another one cannot be loaded.
        return Readiness.READY if self.loads else Readiness.LOADING

    def unloadable(self) -> dict[str, str]:
        """Name of each variant whose files are now missing or damaged -> the reason.

        Reads the files' headers, and may block. The loaded variant is left out: it can be rendered.
        """
        try:
            unloadable = self._loader.unloadable(self.plan)
        except OSError as error:  # a fault of the machine, not of a file
            logger.warning("The files of the model cannot be checked: %s", error)
            return self._unloadable
        for name in unloadable.keys() - self._unloadable.keys():
            logger.error("Variant %s cannot be loaded: %s", name, unloadable[name])
        for name in self._unloadable.keys() - unloadable.keys():
            logger.info("Variant %s can be loaded again", name)
        self._unloadable = unloadable
        loaded = self.variant if self._pipeline is not None else None
        if loaded is not None and loaded.lora_scale == 1:
            return {name: why for name, why in unloadable.items() if name != loaded.name}
        return unloadable

    def _use(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkPipeline:
        """The pipeline with this variant under this plan, loaded if it is not loaded already.

        Raises InvalidCheckpoint for bad files. If loading fails, the last good variant is loaded again.
        """
        with self._loading:
            if self._pipeline is not None and (self.variant, self.plan) == (variant, plan):
                return self._pipeline
            files = self._loader.require(variant, plan)
            failure: Exception
            try:
                return self._load(variant, plan)
            except Exception as error:
                failure = error
            # Outside the handler and with cleared frames: both would keep references to the weights loaded so far.
            _clear_frames(failure)
            # An unexpected error is blamed on the files only if other files could be loaded.
            if isinstance(failure, InvalidCheckpoint) or (self.loads and not isinstance(failure, _NOT_OF_FILES)):
                logger.error("Variant %s cannot be loaded", variant.name, exc_info=failure)
                why = f"{variant.name} cannot be loaded: {getattr(failure, 'detail', repr(failure))}"
                if not isinstance(failure.__cause__, OSError):  # An error of the disk may pass.
                    self._loader.note_failure(files, why)
                failure = InvalidCheckpoint("file_damaged", why)
            out_of_memory = isinstance(failure, torch.OutOfMemoryError)
            if not (out_of_memory and plan.fallback) and not isinstance(failure, torch.AcceleratorError):
                self._load_last_good()
            raise failure

    def _load(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkPipeline:
        # Free the old weights first: the GPU has no room for two sets.
        self._pipeline = None
        self._free()
        self.variant, self.plan = variant, plan
        transformer = self._loader.load(variant, plan)
        self._adapt(transformer)
        encoders = self._encoders.result()
        encoders.text_encoder.model.to("cpu" if plan.text_on_cpu else self.runtime.device)
        self._pipeline = make_pipeline(transformer, encoders, self._weights)
        self._last_good = variant, plan
        self.loads += 1
        return self._pipeline

    def _load_last_good(self) -> None:
        if self._last_good is None:
            return
        try:
            self._load(*self._last_good)
        except Exception:  # The next job loads the variant that it needs.
            logger.exception("The last good variant cannot be loaded again")

    def _adapt(self, transformer: InfiniteTalkTransformer3DModel) -> None:
        use_attention(transformer, self.runtime.attention)
        if self.runtime.compiled and not self.plan.streamed:
            compile_blocks(transformer)

    def _load_first(self, variant: Variant) -> None:
        """Load this variant or, if its files are bad, the first other one that can be loaded."""
        first_error = None
        for candidate in (variant, *(other for other in PLAIN_VARIANTS if other != variant)):
            try:
                self._load_at_start(candidate)
                return
            except InvalidCheckpoint as error:
                self._encoders.result()  # Raises for bad files of the encoders, which every variant needs.
                logger.error("Variant %s cannot be loaded at the start: %s", candidate.name, error.detail)
                first_error = first_error or error
        assert first_error is not None
        raise first_error

    def _load_at_start(self, variant: Variant) -> None:
        try:
            self._use(variant, self._usual_plan)
            return
        except torch.OutOfMemoryError:
            if self._usual_plan.fallback is None:
                raise
            logger.warning("The weights do not fit with the plan %s", self._usual_plan.name)
        self._usual_plan = PLANS[self._usual_plan.fallback]
        self._use(variant, self._usual_plan)

    def _load_encoders(self) -> Encoders:
        return load_encoders(
            self._weights,
            dtype=self.runtime.dtype,
            device=str(self.runtime.device),
            text_device="cpu" if self.plan.text_on_cpu else None,
            vae_dtype=self.runtime.vae_dtype,
        )

    def _free(self) -> None:
        gc.collect()
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()


def _clear_frames(error: BaseException | None) -> None:
    """Drop the local variables of the frames in the error's traceback: they refer to tensors."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
