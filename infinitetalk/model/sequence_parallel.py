"""Several processes share the tokens of one video: each computes its own, and they exchange them for self attention.

Only self attention looks at all tokens. Around it, the processes trade their own tokens of all heads for all tokens of
their own heads (DeepSpeed Ulysses, arXiv:2309.14509), so that any attention kernel can be used. diffusers has the same
for some of its kernels, but not for FlashAttention-3. `infinitetalk.server.distributed` starts the processes.

Names: T latent frames, S tokens of one latent frame, L = T * S.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

from infinitetalk.errors import InvalidInput

if TYPE_CHECKING:
    from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel


@dataclass(frozen=True)
class TokenShard:
    """The consecutive tokens of one process, in the order of the ranks. A shard may begin and end within a frame."""

    shares: tuple[int, ...]  # number of tokens of each process
    rank: int
    frame_tokens: int  # S
    group: distributed.ProcessGroup

    @classmethod
    def of(cls, group: distributed.ProcessGroup, frames: int, frame_tokens: int) -> "TokenShard":
        """This process's shard of frames * frame_tokens tokens; the shares differ by one token at most."""
        size = group.size()
        share, left = divmod(frames * frame_tokens, size)
        return cls(tuple(share + (rank < left) for rank in range(size)), group.rank(), frame_tokens, group)

    @property
    def start(self) -> int:
        return sum(self.shares[: self.rank])

    @property
    def stop(self) -> int:
        return self.start + self.shares[self.rank]

    @property
    def own(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def frames(self) -> slice:
        """The latent frames that have a token in this shard."""
        return slice(self.start // self.frame_tokens, -(-self.stop // self.frame_tokens))

    @property
    def padding(self) -> tuple[int, int]:
        """Number of tokens to add before and after this shard for `frames` to be whole."""
        return self.start % self.frame_tokens, -self.stop % self.frame_tokens

    def to_heads(self, states: torch.Tensor) -> torch.Tensor:
        """1, own tokens, heads, head_dim -> 1, L, this process's heads, head_dim."""
        sent = states[0].unflatten(1, (len(self.shares), -1)).transpose(0, 1).flatten(0, 1)
        received = sent.new_empty(sum(self.shares), *sent.shape[1:])
        distributed.all_to_all_single(
            received, sent, list(self.shares), [states.shape[1]] * len(self.shares), group=self.group
        )
        return received[None]

    def to_tokens(self, states: torch.Tensor) -> torch.Tensor:
        """The inverse of `to_heads`: 1, L, this process's heads, head_dim -> 1, own tokens, heads, head_dim."""
        size, own = len(self.shares), self.shares[self.rank]
        received = states.new_empty(size * own, *states.shape[2:])
        distributed.all_to_all_single(
            received, states[0].contiguous(), [own] * size, list(self.shares), group=self.group
        )
        return received.unflatten(0, (size, own)).transpose(0, 1).flatten(1, 2)[None]

    def gather(self, states: torch.Tensor, count: int) -> torch.Tensor:
        """states: 1, own tokens, ... Returns the first `count` of all tokens, on every process."""
        own = states[:, : max(0, count - self.start)]
        gathered = states.new_zeros(1, count, *states.shape[2:])
        gathered[:, self.start : self.start + own.shape[1]] = own
        distributed.all_reduce(gathered, group=self.group)  # Exact: each token is nonzero once.
        return gathered

    def extremes(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The minimum of `low` and the maximum of `high` over all processes, element by element, in their shapes."""
        both = torch.stack([-low, high])
        distributed.all_reduce(both, op=distributed.ReduceOp.MAX, group=self.group)
        return -both[0], both[1]


def enable_context_parallel(transformer: "InfiniteTalkTransformer3DModel", degree: int) -> None:
    """Divide the transformer's tokens among the `degree` processes of this `torchrun`.

    Raises InvalidInput `gpus_invalid` when another number of processes runs, or cannot share the attention heads.
    """
    if degree == 1:
        return
    size, heads = distributed.get_world_size(), transformer.config.num_attention_heads
    if degree != size:
        raise InvalidInput("gpus_invalid", f"{size} processes run, not {degree}.")
    if heads % degree:
        raise InvalidInput("gpus_invalid", f"{degree} processes cannot share {heads} attention heads.")
    transformer.token_group = distributed.group.WORLD
