"""Renders jobs one after the other with the loaded model, under a smaller memory plan when memory runs out."""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import torch

from infinitetalk.acceleration.memory_plan import PLANS, MemoryPlan
from infinitetalk.conditioning.audio import load_voice, normalise_loudness
from infinitetalk.conditioning.source import open_source
from infinitetalk.conditioning.text_encoder import NEGATIVE_PROMPT
from infinitetalk.errors import InfiniteTalkError
from infinitetalk.pipeline import GeneratedChunk
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.server.loaded_model import LoadedModel
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.runtime_options import RuntimeOptions
from infinitetalk.server.variants import VariantLoader

logger = logging.getLogger(__name__)


class ModelWorker(LoadedModel):
    """Renders one job at a time. `render` is not safe for two threads at once; the other public members are."""

    def __init__(self, weights: Path, loader: VariantLoader, runtime: RuntimeOptions, plan: MemoryPlan) -> None:
        super().__init__(weights, loader, runtime, plan)
        self._too_large: int | None = None  # pixels of a frame with which the usual plan ran out of memory

    @torch.no_grad()
    def render(
        self, job: RenderJob, check: Callable[[], None], on_step: Callable[[int, int], None]
    ) -> Generator[GeneratedChunk]:
        """Yield the chunks after the job's resume point. check: called before each step; raises to stop.

        Out of GPU memory, the render continues under the plan's fallback, which needs less. Raises InvalidInput for a
        bad job, InvalidCheckpoint for bad files of the model, and InfiniteTalkError `gpu_out_of_memory` when there is
        no fallback.
        """
        resume_point = job.resume_point
        plan = self._plan_for(job)
        while True:
            try:
                for chunk in self._render(job, plan, resume_point, check, on_step):
                    resume_point = chunk.resume_point
                    yield chunk
                return
            except torch.OutOfMemoryError as error:
                logger.warning("Out of memory with the plan %s: %s", plan.name, error)
            # Outside the handler: the exception keeps the frames alive, and the frames keep the tensors.
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
        resume_point: ResumePoint | None,
        check: Callable[[], None],
        on_step: Callable[[int, int], None],
    ) -> Iterator[GeneratedChunk]:
        def step(chunk: int, number: int) -> None:
            check()
            on_step(chunk, number)

        for path in (job.source, *job.voices):
            if not os.access(path, os.R_OK):
                raise InfiniteTalkError("file_unreadable", f"{path} cannot be read by the model server.")
        source = open_source(job.source, job.crop, job.video_end)
        voices = [normalise_loudness(load_voice(voice)) for voice in job.voices]
        # Who has boxes but no voice keeps still: to the model, a silent speaker.
        voices += [np.zeros_like(voices[0])] * (job.variant.speakers - len(voices))
        encoders = self._encoders.result()
        check()
        audio_embeds = [encoders.speech_encoder(voice) for voice in voices]
        encoders.text_encoder(job.prompt)  # Kept for the pipeline; the transformer may still be loading.
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
            speaker_boxes=job.speaker_boxes,
            resume=resume_point,
            on_step=step,
        )

    def _plan_for(self, job: RenderJob) -> MemoryPlan:
        if self._too_large is not None and self._usual_plan.fallback and _pixels(job) >= self._too_large:
            return PLANS[self._usual_plan.fallback]
        return self._usual_plan


def _pixels(job: RenderJob) -> int:
    return job.size[0] * job.size[1]
