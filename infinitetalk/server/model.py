"""The networks, loaded once and kept: what makes the second render start at once."""

import gc
import logging
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from infinitetalk.acceleration.compile import compile_blocks
from infinitetalk.acceleration.memory_plan import PLANS, MemoryPlan
from infinitetalk.checkpoints.load_pipeline import Encoders, load_encoders
from infinitetalk.conditioning.audio import load_voice, normalise_loudness
from infinitetalk.conditioning.source import open_source
from infinitetalk.conditioning.text_encoder import NEGATIVE_PROMPT
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint, InvalidInput
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import GeneratedChunk, InfiniteTalkPipeline
from infinitetalk.sampling.resume_point import Checkpoint
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.variants import PLAIN_VARIANTS, Variant, VariantLoader

logger = logging.getLogger(__name__)


# Loading may fail with these, too, though the files are good.
_NOT_OF_FILES = (torch.OutOfMemoryError, torch.AcceleratorError, OSError, MemoryError, InvalidInput)


class Readiness(StrEnum):
    LOADING = "loading"
    READY = "ready"


@dataclass(frozen=True)
class Hardware:
    device: torch.device
    dtype: torch.dtype
    vae_dtype: torch.dtype
    attention: str  # a backend of diffusers
    compiled: bool


class WarmModel:
    """Renders one job at a time; `render` is not safe for two threads at once, the other members are."""

    def __init__(self, weights: Path, loader: VariantLoader, hardware: Hardware, plan: MemoryPlan) -> None:
        self.plan = plan  # what is loaded, or is being loaded
        self.variant: Variant | None = None
        self.loads = 0  # of a transformer, since the start
        self.hardware = hardware
        self._weights = weights
        self._loader = loader
        self._usual_plan = plan
        self._too_large: int | None = None  # pixels of a frame with which the usual plan ran out of memory
        self._pipeline: InfiniteTalkPipeline | None = None
        self._last_good: tuple[Variant, MemoryPlan] | None = None  # what was loaded last
        self._unloadable: dict[str, str] = {}  # as it was last told
        self._loading = threading.Lock()

    def start(self, variant: Variant) -> "Future[None]":
        """Begin to load, the encoders and the transformer side by side; the result comes when all is there.

        A render may be asked for meanwhile: its voice and prompt are encoded as soon as the encoders are loaded.
        """
        pool = ThreadPoolExecutor(2, thread_name_prefix="load")
        self._encoders = pool.submit(self._load_encoders)
        whole = pool.submit(self._load_first, variant)
        pool.shutdown(wait=False)
        return whole

    @property
    def readiness(self) -> Readiness:
        # From the first load on it takes jobs, also when another variant could not be loaded.
        return Readiness.READY if self.loads else Readiness.LOADING

    def unloadable(self) -> dict[str, str]:
        """Names of the variants that cannot be rendered, since their files are missing or damaged now, and why.

        It looks at the files, and may block. What is loaded already can be rendered.
        """
        try:
            found = self._loader.unloadable(self.plan)
        except OSError as error:  # The machine cannot look.
            logger.warning("The files of the model cannot be looked at: %s", error)
            return self._unloadable
        for name in found.keys() - self._unloadable.keys():
            logger.error("Variant %s cannot be loaded: %s", name, found[name])
        for name in self._unloadable.keys() - found.keys():
            logger.info("Variant %s can be loaded again", name)
        self._unloadable = found
        loaded = self.variant if self._pipeline is not None else None
        if loaded is not None and loaded.lora_scale == 1:
            return {name: why for name, why in found.items() if name != loaded.name}
        return found

    @torch.no_grad()
    def render(
        self, job: RenderJob, check: Callable[[], None], on_step: Callable[[int, int], None]
    ) -> Generator[GeneratedChunk]:
        """Yield the chunks from the job's checkpoint on. check: called often; raises to stop.

        Out of memory, it goes on with the plan that takes less. Raises InvalidInput, InvalidCheckpoint for bad files of
        the model or a bad checkpoint, and InfiniteTalkError `gpu_out_of_memory` when there is no such plan.
        """
        checkpoint = job.checkpoint
        plan = self._plan_for(job)
        while True:
            try:
                for chunk in self._render(job, plan, checkpoint, check, on_step):
                    checkpoint = chunk.checkpoint
                    yield chunk
                return
            except torch.OutOfMemoryError as error:
                logger.warning("Out of memory with the plan %s: %s", plan.name, error)
            # Outside the handler: its exception holds on to the frames, and they to the tensors.
            self._free()
            if plan.fallback is None:
                raise InfiniteTalkError("gpu_out_of_memory", f"Out of GPU memory, even with the plan {plan.name}.")
            if plan == self._usual_plan:
                self._too_large = min(_pixels(job), self._too_large or _pixels(job))
            plan = PLANS[plan.fallback]
            logger.warning("Going on with the plan %s, more slowly", plan.name)

    def _render(
        self,
        job: RenderJob,
        plan: MemoryPlan,
        checkpoint: Checkpoint | None,
        check: Callable[[], None],
        on_step: Callable[[int, int], None],
    ) -> Iterator[GeneratedChunk]:
        def step(chunk: int, number: int) -> None:
            check()
            on_step(chunk, number)

        for path in (job.source, *job.voices):
            if not os.access(path, os.R_OK):
                raise InfiniteTalkError("file_unreadable", f"{path} cannot be read by the model server.")
        source = open_source(job.source, job.crop)
        voices = [normalise_loudness(load_voice(voice)) for voice in job.voices]
        encoders = self._encoders.result()
        check()
        audio_embeds = [encoders.speech_encoder(voice) for voice in voices]
        encoders.text_encoder(job.prompt)  # It remembers it. The transformer may still be loading.
        check()
        pipeline = self._use(job.variant, plan)
        yield from pipeline(
            source=source,
            audio_embeds=audio_embeds,
            prompt=job.prompt,
            negative_prompt=NEGATIVE_PROMPT,
            seed=job.seed,
            settings=job.settings,
            num_frames=job.num_frames,
            size=job.size,
            resume=checkpoint,
            on_step=step,
        )

    def _plan_for(self, job: RenderJob) -> MemoryPlan:
        if self._too_large is not None and self._usual_plan.fallback and _pixels(job) >= self._too_large:
            return PLANS[self._usual_plan.fallback]
        return self._usual_plan

    def _use(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkPipeline:
        """The pipeline with these weights in this place; loads them unless they are there.

        Raises InvalidCheckpoint for bad files. If loading fails, what was loaded before is loaded again.
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
            # Outside the handler, and without the frames: they hold on to what was loaded of the weights.
            _clear_frames(failure)
            # An unforeseen error counts as the files' only if others could be loaded.
            if isinstance(failure, InvalidCheckpoint) or (self.loads and not isinstance(failure, _NOT_OF_FILES)):
                logger.error("Variant %s cannot be loaded", variant.name, exc_info=failure)
                why = f"{variant.name} cannot be loaded: {getattr(failure, 'detail', repr(failure))}"
                if not isinstance(failure.__cause__, OSError):  # That may pass.
                    self._loader.note_failure(files, why)
                failure = InvalidCheckpoint("file_damaged", why)
            out_of_memory = isinstance(failure, torch.OutOfMemoryError)
            if not (out_of_memory and plan.fallback) and not isinstance(failure, torch.AcceleratorError):
                self._load_last_good()
            raise failure

    def _load(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkPipeline:
        # First out with the old weights: two sets would not fit.
        self._pipeline = None
        self._free()
        self.variant, self.plan = variant, plan
        transformer = self._loader.load(variant, plan)
        self._adapt(transformer)
        encoders = self._encoders.result()
        encoders.text_encoder.model.to("cpu" if plan.text_on_cpu else self.hardware.device)
        self._pipeline = encoders.pipeline(transformer, self._weights)
        self._last_good = variant, plan
        self.loads += 1
        return self._pipeline

    def _load_last_good(self) -> None:
        if self._last_good is None:
            return
        try:
            self._load(*self._last_good)
        except Exception:  # The next job loads what it needs.
            logger.exception("What was loaded before cannot be loaded again")

    def _adapt(self, transformer: InfiniteTalkTransformer3DModel) -> None:
        transformer.set_attention_backend(self.hardware.attention)
        if self.hardware.compiled and not self.plan.streamed:
            compile_blocks(transformer)

    def _load_first(self, variant: Variant) -> None:
        """This variant or, where its files are bad, another one, so that there is something to go on with."""
        first = None
        for candidate in (variant, *(other for other in PLAIN_VARIANTS if other != variant)):
            try:
                self._load_at_start(candidate)
                return
            except InvalidCheckpoint as error:
                self._encoders.result()  # With bad files of these no variant can be loaded.
                logger.error("The first variant cannot be %s: %s", candidate.name, error.detail)
                first = first or error
        assert first is not None
        raise first

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
            dtype=self.hardware.dtype,
            device=str(self.hardware.device),
            text_device="cpu" if self.plan.text_on_cpu else None,
            vae_dtype=self.hardware.vae_dtype,
        )

    def _free(self) -> None:
        gc.collect()
        if self.hardware.device.type == "cuda":
            torch.cuda.empty_cache()


def _clear_frames(error: BaseException | None) -> None:
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _pixels(job: RenderJob) -> int:
    return job.size[0] * job.size[1]
