"""The state of a video after a chunk: enough for another process to continue with the very same frames."""

from dataclasses import dataclass

import torch
from safetensors.torch import load, save

from infinitetalk.errors import InvalidInput


@dataclass(frozen=True)
class ResumePoint:
    """The next chunk starts from the last frames shown; its noise depends on nothing but the seed and its number."""

    next_chunk: int
    motion_frames: torch.Tensor  # 1, 3, motion frames, H, W in [-1, 1], float32, as decoded and color-corrected

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        tensors = {"motion_frames": self.motion_frames.contiguous(), "next_chunk": torch.tensor(self.next_chunk)}
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ResumePoint":
        """Raises InvalidInput `checkpoint_invalid`."""
        try:
            tensors = load(data)
            return cls(int(tensors["next_chunk"]), tensors["motion_frames"])
        except Exception as error:  # safetensors raises several kinds, some of them undocumented
            raise InvalidInput("checkpoint_invalid", "The checkpoint to continue from is damaged.") from error
