"""Which tokens are this process's own when several share the work on one video, and how they exchange them.

Only self attention looks at all tokens. For it, the processes trade their tokens of all heads for all tokens of some
heads (DeepSpeed Ulysses, arXiv:2309.14509), so that any attention kernel will do. diffusers has the same for some of
its kernels, FlashAttention-3 not among them. Names: T latent frames, S tokens of one latent frame, L = T * S.
"""

from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class TokenShard:
    """One run of tokens, in the order of the processes. It need neither begin nor end with a latent frame."""

    shares: tuple[int, ...]  # how many tokens each process has
    rank: int
    frame_tokens: int  # S
    group: distributed.ProcessGroup

    @classmethod
    def of(cls, group: distributed.ProcessGroup, frames: int, frame_tokens: int) -> "TokenShard":
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
        """The latent frames that it touches."""
        return slice(self.start // self.frame_tokens, -(-self.stop // self.frame_tokens))

    @property
    def padding(self) -> tuple[int, int]:
        """How many tokens before and after it make these frames whole."""
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
        """The way back: 1, L, this process's heads, head_dim -> 1, own tokens, heads, head_dim."""
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
        distributed.all_reduce(gathered, group=self.group)  # A token is not zero on one only: their sum is exact.
        return gathered

    def extremes(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and the greatest over all processes, each as large as what is given."""
        both = torch.stack([-low, high])
        distributed.all_reduce(both, op=distributed.ReduceOp.MAX, group=self.group)
        return -both[0], both[1]
