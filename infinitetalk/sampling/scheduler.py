"""The shifted flow-matching schedule, and which frames each chunk of a long video covers. Plain arithmetic."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray

NUM_TRAIN_TIMESTEPS = 1000
# A step that starts at or below this time is left out: going from the time before it straight to 0 changes the latents
# by at most 3/1000 of the difference of two velocities, and a pass of the transformer is saved.
IDLE_BELOW = 3.0


def used_timesteps(
    num_inference_steps: int, flow_shift: float, *, keep_idle_steps: bool = False
) -> NDArray[np.float32]:
    """The times of shifted_timesteps at which a pass is made, and the 0 at which the last of them ends.

    keep_idle_steps: all of them, as the reference does.
    """
    timesteps = shifted_timesteps(num_inference_steps, flow_shift)
    if keep_idle_steps:
        return timesteps
    return np.append(timesteps[timesteps > IDLE_BELOW], np.float32(0))


def shifted_timesteps(num_inference_steps: int, flow_shift: float) -> NDArray[np.float32]:
    """num_inference_steps + 1 values on the scale 1000..0; the last is exactly 0.

    All in float32 and in this order: another order is off by some 1e-4, which long runs make visible.
    """
    timesteps = np.linspace(NUM_TRAIN_TIMESTEPS, 1, num_inference_steps, dtype=np.float32)
    timesteps = np.append(timesteps, np.float32(0))
    linear = timesteps / np.float32(NUM_TRAIN_TIMESTEPS)
    shift = np.float32(flow_shift)
    shifted: NDArray[np.float32] = (shift * linear / (1 + (shift - 1) * linear)) * np.float32(NUM_TRAIN_TIMESTEPS)
    return shifted


def make_scheduler(
    num_inference_steps: int, flow_shift: float, *, keep_idle_steps: bool = False
) -> FlowMatchEulerDiscreteScheduler:
    """keep_idle_steps: see used_timesteps."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS, shift=1.0)
    timesteps = torch.from_numpy(used_timesteps(num_inference_steps, flow_shift, keep_idle_steps=keep_idle_steps))
    scheduler.set_timesteps(sigmas=(timesteps[:-1] / NUM_TRAIN_TIMESTEPS).tolist())
    # As computed, not as they come back from a division and a multiplication.
    scheduler.timesteps, scheduler.sigmas = timesteps[:-1], timesteps / NUM_TRAIN_TIMESTEPS
    return scheduler


@dataclass(frozen=True)
class Chunk:
    index: int
    start: int  # first frame generated, motion frames included
    num_frames: int  # 4n + 1
    keep_from: int  # how many of the first frames the chunk before has shown already
    is_last: bool

    @property
    def stop(self) -> int:
        return self.start + self.num_frames


def plan_chunks(num_frames: int, *, num_frames_per_chunk: int = 81, motion_frames: int = 9) -> list[Chunk]:
    """Cover `num_frames` with chunks that each begin on the last frames of the one before.

    A video shorter than a chunk is one chunk of the next 4n + 1 frames, 5 at least. The last chunk may reach past the
    end; what is too much is cut.
    """
    if num_frames <= num_frames_per_chunk:
        return [Chunk(0, 0, max(5, (num_frames + 2) // 4 * 4 + 1), 0, is_last=True)]
    step = num_frames_per_chunk - motion_frames
    number = 1 + -(-(num_frames - num_frames_per_chunk) // step)
    return [
        Chunk(index, index * step, num_frames_per_chunk, motion_frames if index else 0, is_last=index == number - 1)
        for index in range(number)
    ]
