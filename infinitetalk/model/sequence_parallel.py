"""Several processes, one for each GPU, make one video in lockstep; the process with rank 0 leads.

Each runs the whole pipeline with the same inputs. Only in the transformer, where nearly all of the time goes, has each
its own tokens (`infinitetalk.model.token_shard`). Start them with `torchrun --nproc-per-node`.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from infinitetalk.errors import InvalidInput
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

IDLE = timedelta(days=365)  # The others wait for the leader for as long as nobody wants a video.


@dataclass(frozen=True)
class Group:
    """All processes of this `torchrun`, or the only one."""

    rank: int
    size: int
    device: str
    control: distributed.ProcessGroup | None  # None: alone

    @classmethod
    def init(cls, device: str = "cuda") -> "Group":
        """Join the others that torchrun's environment variables tell of. device: a type, cuda or cpu."""
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
        """The leader's value on all; what the others give does not count. It is pickled: nothing large."""
        if self.control is None:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.control, device=torch.device("cpu"))
        return box[0]

    def agree(self, flag: bool) -> bool:
        """The leader's answer, on all: whether to go on must never be decided by each alone."""
        return bool(self.broadcast(flag))

    def close(self) -> None:
        if self.control is not None:
            distributed.destroy_process_group()


def enable_context_parallel(transformer: InfiniteTalkTransformer3DModel, degree: int) -> None:
    """Divide its tokens among all `degree` processes of this `torchrun`. Raises InvalidInput `gpus_invalid`."""
    if degree == 1:
        return
    size, heads = distributed.get_world_size(), transformer.config.num_attention_heads
    if degree != size:
        raise InvalidInput("gpus_invalid", f"{size} processes run, not {degree}.")
    if heads % degree:
        raise InvalidInput("gpus_invalid", f"{degree} processes cannot share {heads} attention heads.")
    transformer.token_group = distributed.group.WORLD
