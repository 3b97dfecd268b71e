"""One render on several GPUs: all processes run the same pipeline at the same time, and share the transformer's tokens.

Start them with `torchrun --nproc-per-node`. Only the leader (rank 0) talks to clients. Whether to stop is the leader's
decision, which it sends to the others at fixed points of the code. A fault that one process may have alone (its GPU,
its memory) ends them all, because the others would wait for it for ever. The service manager restarts them, and the
client continues after the last chunk.
"""

import logging
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from infinitetalk.acceleration.memory_plan import MemoryPlan
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint
from infinitetalk.model.sequence_parallel import enable_context_parallel
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import GeneratedChunk, InfiniteTalkPipeline
from infinitetalk.server.leases import Aborted
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.runtime_options import RuntimeOptions
from infinitetalk.server.variants import Variant, VariantLoader

logger = logging.getLogger(__name__)

IDLE = timedelta(days=365)  # The followers wait for the leader's next job for as long as this.


@dataclass(frozen=True)
class Group:
    """All processes of this `torchrun`; without torchrun, this process alone."""

    rank: int
    size: int
    device: str
    control: distributed.ProcessGroup | None  # None: alone

    @classmethod
    def init(cls, device: str = "cuda") -> "Group":
        """Join the processes of torchrun's environment variables. device: a type, cuda or cpu."""
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if device == "cuda":
            index = int(os.environ.get("LOCAL_RANK", "0"))
            torch.cuda.set_device(index)
            device = f"cuda:{index}"
        if size == 1:
            return cls(rank, size, device, None)
        distributed.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl")
        return cls(rank, size, device, distributed.new_group(backend="gloo", timeout=IDLE))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Any = None) -> Any:
        """Returns the leader's value in every process. It is pickled: send nothing large."""
        if self.control is None:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.control, device=torch.device("cpu"))
        return box[0]

    def agree(self, flag: bool) -> bool:
        """Returns the leader's flag in every process, for decisions that all must take alike."""
        return bool(self.broadcast(flag))

    def close(self) -> None:
        if self.control is not None:
            distributed.destroy_process_group()


class DistributedModelWorker(ModelWorker):
    def __init__(
        self,
        weights: Path,
        loader: VariantLoader,
        runtime: RuntimeOptions,
        plan: MemoryPlan,
        *,
        group: Group,
        on_fatal: Callable[[], None],
    ) -> None:
        """on_fatal: called after a fault that one process may have alone; must end the process."""
        super().__init__(weights, loader, runtime, plan)
        self._group = group
        self._on_fatal = on_fatal

    def render(
        self, job: RenderJob, check: Callable[[], None], on_step: Callable[[int, int], None]
    ) -> Generator[GeneratedChunk]:
        """Called in the leader. It must be exhausted or closed. There is no fallback when memory runs out."""
        self._group.broadcast(job)
        yield from self._render_together(job, check, on_step)

    def follow(self) -> None:
        """Called in the followers: take part in every render until the leader has ended."""
        while True:
            try:
                job: RenderJob = self._group.broadcast()
            except RuntimeError:
                logger.info("The leader has ended")
                return
            try:
                for _ in self._render_together(job, lambda: None, lambda chunk, step: None):
                    pass
            except (Aborted, InfiniteTalkError) as error:
                logger.info("Render %s: %s", job.render_id, error)

    @torch.no_grad()
    def _render_together(
        self, job: RenderJob, check: Callable[[], None], on_step: Callable[[int, int], None]
    ) -> Generator[GeneratedChunk]:
        def check_together() -> None:
            aborted = None
            try:
                check()
            except Aborted as error:
                aborted = error
            if self._group.agree(aborted is not None):
                raise aborted or Aborted("the leader has stopped")

        try:
            for chunk in self._render(job, self._usual_plan, job.resume_point, check_together, on_step):
                stop = True  # unless the leader's client asks for the next chunk
                try:
                    yield chunk
                    stop = False
                finally:
                    stop = self._group.agree(stop)
                if stop:
                    raise Aborted("the leader has stopped")
        except (Aborted, InfiniteTalkError):
            raise  # Every process raises the same.
        except Exception:
            logger.exception("Render %s", job.render_id)
            self._on_fatal()
            raise

    def _load_at_start(self, variant: Variant) -> None:
        super()._use(variant, self.plan)  # Without agreement: the processes do not exchange messages yet.

    def _use(self, variant: Variant, plan: MemoryPlan) -> InfiniteTalkPipeline:
        error_here = None
        try:
            pipeline = super()._use(variant, plan)
        except InvalidCheckpoint as error:
            error_here = error
        if self._group.agree(error_here is not None):
            raise error_here or InvalidCheckpoint("file_damaged", f"The leader cannot load {variant.name}.")
        if error_here is not None:
            raise RuntimeError(f"Only this process cannot load {variant.name}") from error_here
        return pipeline

    def _adapt(self, transformer: InfiniteTalkTransformer3DModel) -> None:
        super()._adapt(transformer)
        enable_context_parallel(transformer, self._group.size)
