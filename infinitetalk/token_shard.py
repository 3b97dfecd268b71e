"""Which tokens are this process's own when several share the work on one video.

Only self attention looks beyond them, and diffusers makes it exchange heads for tokens (DeepSpeed Ulysses,
arXiv:2309.14509). Names: T latent frames, S tokens of one latent frame, L = T * S.
"""

from dataclasses import dataclass

import torch
from diffusers.models._modeling_parallel import ParallelConfig
from torch import distributed


@dataclass(frozen=True)
class TokenShard:
    """One run of tokens, in the order of the processes. It need neither begin nor end with a latent frame."""

    start: int
    stop: int
    frame_tokens: int  # S
    even: bool  # all have as many
    group: distributed.ProcessGroup

    @classmethod
    def of(cls, config: ParallelConfig | None, frames: int, frame_tokens: int) -> "TokenShard | None":
        """Cut as diffusers cuts: the first processes have one token more where they do not divide evenly.

        config: None without parallelism, and so is the shard.
        """
        if config is None:
            return None
        ulysses = config.context_parallel_config
        share, left = divmod(frames * frame_tokens, ulysses.ulysses_degree)
        # Unequal shares make each attention ask for their sizes four times, so they are allowed only when needed.
        ulysses.ulysses_anything = left > 0
        rank = ulysses._ulysses_local_rank
        start = rank * share + min(rank, left)
        stop = start + share + (rank < left)
        return cls(start, stop, frame_tokens, left == 0, ulysses._ulysses_mesh.get_group())

    @property
    def own(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def frames(self) -> slice:
        """The latent frames that it touches."""
        return slice(self.start // self.frame_tokens, -(-self.stop // self.frame_tokens))

    @property
    def padding(self) -> tuple[int, int]:
        """How many tokens before and after it make these frames whole."""
        return self.start % self.frame_tokens, -self.stop % self.frame_tokens

    def gather(self, states: torch.Tensor, count: int) -> torch.Tensor:
        """states: 1, own tokens, ... Returns the first `count` of all tokens, on every process."""
        own = states[:, : max(0, count - self.start)]
        gathered = states.new_zeros(1, count, *states.shape[2:])
        gathered[:, self.start : self.start + own.shape[1]] = own
        distributed.all_reduce(gathered, group=self.group)  # A token is not zero on one only: their sum is exact.
        return gathered

    def extremes(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and the greatest over all processes, each as large as what is given."""
        both = torch.stack([-low, high])
        distributed.all_reduce(both, op=distributed.ReduceOp.MAX, group=self.group)
        return -both[0], both[1]
