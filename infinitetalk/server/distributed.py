"""One render on several GPUs: each process does the same at the same time, and its own part of the transformer's work.

Only the process that leads talks to clients. What it alone may know, whether to stop, all agree upon at the same points
of the same code. A fault that may be one process's own (its GPU, its memory) ends them all: the others would wait for
it for ever. Whoever started them starts them anew, and the client goes on after the last chunk.
"""

import logging
from collections.abc import Callable, Generator
from pathlib import Path

import torch

from infinitetalk.acceleration.memory_plan import MemoryPlan
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint
from infinitetalk.model.sequence_parallel import Group, enable_context_parallel
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import GeneratedChunk, InfiniteTalkPipeline
from infinitetalk.server.leases import Aborted
from infinitetalk.server.model import Hardware, WarmModel
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.variants import Variant, VariantLoader

logger = logging.getLogger(__name__)


class LockstepModel(WarmModel):
    def __init__(
        self,
        weights: Path,
        loader: VariantLoader,
        hardware: Hardware,
        plan: MemoryPlan,
        *,
        group: Group,
        on_fatal: Callable[[], None],
    ) -> None:
        """on_fatal: must end the process."""
        super().__init__(weights, loader, hardware, plan)
        self._group = group
        self._on_fatal = on_fatal

    def render(
        self, job: RenderJob, check: Callable[[], None], on_step: Callable[[int, int], None]
    ) -> Generator[GeneratedChunk]:
        """Of the process that leads. It must be exhausted or closed. There is no other plan when memory runs out."""
        self._group.broadcast(job)
        yield from self._together(job, check, on_step)

    def follow(self) -> None:
        """Of the others: take part in every render, until the leader has gone."""
        while True:
            try:
                job: RenderJob = self._group.broadcast()
            except RuntimeError:
                logger.info("The leader has gone")
                return
            try:
                for _ in self._together(job, lambda: None, lambda chunk, step: None):
                    pass
            except (Aborted, InfiniteTalkError) as error:
                logger.info("Render %s: %s", job.render_id, error)

    @torch.no_grad()
    def _together(
        self, job: RenderJob, check: Callable[[], None], on_step: Callable[[int, int], None]
    ) -> Generator[GeneratedChunk]:
        def agreed() -> None:
            aborted = None
            try:
                check()
            except Aborted as error:
                aborted = error
            if self._group.agree(aborted is not None):
                raise aborted or Aborted("the leader has stopped")

        try:
            for chunk in self._render(job, self._usual_plan, job.checkpoint, agreed, on_step):
                stop = True  # unless the leader's client wants more
                try:
                    yield chunk
                    stop = False
                finally:
                    stop = self._group.agree(stop)
                if stop:
                    raise Aborted("the leader has stopped")
        except (Aborted, InfiniteTalkError):
            raise  # The same in all of them.
        except Exception:
            logger.exception("Render %s", job.render_id)
            self._on_fatal()
            raise

    def _load_at_start(self, variant: Variant) -> None:
        super()._use(variant, self.plan)  # Before the processes talk to each other.

    def _use(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkPipeline:
        fault = None
        try:
            pipeline = super()._use(variant, plan)
        except InvalidCheckpoint as error:
            fault = error
        if self._group.agree(fault is not None):
            raise fault or InvalidCheckpoint("file_damaged", f"The leader cannot load {variant.name}.")
        if fault is not None:
            raise RuntimeError(f"Only this process cannot load {variant.name}") from fault
        return pipeline

    def _adapt(self, transformer: InfiniteTalkTransformer3DModel) -> None:
        super()._adapt(transformer)
        enable_context_parallel(transformer, self._group.size)
