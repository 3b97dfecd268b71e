"""The time steps that a number of steps and a flow shift lead to."""

import numpy as np
from numpy.typing import NDArray

NUM_TRAIN_TIMESTEPS = 1000
# A step that starts at or below this time is left out: going from the time before it straight to 0 changes the latents
# by at most 3/1000 of the difference of two velocities, and saves a pass of the transformer.
IDLE_BELOW = 3.0


def used_timesteps(
    num_inference_steps: int, flow_shift: float, *, keep_idle_steps: bool = False
) -> NDArray[np.float32]:
    """The times of `shifted_timesteps` at which a pass is made, and the 0 at which the last of them ends.

    keep_idle_steps: all of them, as the reference does.
    """
    timesteps = shifted_timesteps(num_inference_steps, flow_shift)
    if keep_idle_steps:
        return timesteps
    return np.append(timesteps[timesteps > IDLE_BELOW], np.float32(0))


def shifted_timesteps(num_inference_steps: int, flow_shift: float) -> NDArray[np.float32]:
    """num_inference_steps + 1 values on the scale 1000..0; the last is exactly 0.

    All in float32 and in this order: another order differs by some 1e-4, which shows in long videos.
    """
    timesteps = np.linspace(NUM_TRAIN_TIMESTEPS, 1, num_inference_steps, dtype=np.float32)
    timesteps = np.append(timesteps, np.float32(0))
    linear = timesteps / np.float32(NUM_TRAIN_TIMESTEPS)
    shift = np.float32(flow_shift)
    shifted: NDArray[np.float32] = (shift * linear / (1 + (shift - 1) * linear)) * np.float32(NUM_TRAIN_TIMESTEPS)
    return shifted
