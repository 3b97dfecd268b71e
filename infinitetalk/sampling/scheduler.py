"""diffusers' flow-matching scheduler, set to the time steps of `infinitetalk.sampling.timesteps`."""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from infinitetalk.sampling.timesteps import NUM_TRAIN_TIMESTEPS, used_timesteps


def make_scheduler(
    num_inference_steps: int, flow_shift: float, *, keep_idle_steps: bool = False
) -> FlowMatchEulerDiscreteScheduler:
    """keep_idle_steps: see `used_timesteps`."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS, shift=1.0)
    timesteps = torch.from_numpy(used_timesteps(num_inference_steps, flow_shift, keep_idle_steps=keep_idle_steps))
    scheduler.set_timesteps(sigmas=(timesteps[:-1] / NUM_TRAIN_TIMESTEPS).tolist())
    # Overwritten, because the scheduler's own values have been divided and multiplied, and so rounded twice.
    scheduler.timesteps, scheduler.sigmas = timesteps[:-1], timesteps / NUM_TRAIN_TIMESTEPS
    return scheduler
