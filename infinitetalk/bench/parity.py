"""Whether a case computes the same as the baseline. Its speed counts only then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from infinitetalk.bench.flops import transformer_inputs
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.sampling.scheduler import make_scheduler

# Two equally valid orders of rounding in bfloat16 differ by 1.9 % (cosine 0.9998) over the 40 blocks of the published
# sizes; in the golden data, each is 1.7 to 3.7 % from float32.
LEAST_COSINE = 0.9995
TIMESTEP = 700.0
STEPS, FLOW_SHIFT = 2, 2.0
SEED = 1


@dataclass(frozen=True)
class Agreement:
    """Agreement with the baseline, of one pass and of the latents after two steps."""

    cosine: float
    max_relative_error: float  # largest difference / largest value
    steps_cosine: float
    steps_max_relative_error: float

    @property
    def passed(self) -> bool:
        return min(self.cosine, self.steps_cosine) >= LEAST_COSINE


@dataclass(frozen=True)
class Outputs:
    one_pass: torch.Tensor
    two_steps: torch.Tensor

    def agree_with(self, baseline: "Outputs") -> Agreement:
        return Agreement(
            *_compare(self.one_pass, baseline.one_pass),
            *_compare(self.two_steps, baseline.two_steps),
        )


def random_inputs(
    config: Mapping[str, Any], num_frames: int, height: int, width: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Inputs of one pass; the same values on every device."""
    generator = torch.Generator().manual_seed(SEED)
    shapes = transformer_inputs(config, num_frames, height, width)
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    inputs["timestep"].fill_(TIMESTEP)
    return {name: tensor.to(device) for name, tensor in inputs.items()}


@torch.no_grad()
def outputs_of(transformer: InfiniteTalkTransformer3DModel, inputs: dict[str, torch.Tensor]) -> Outputs:
    one_pass = transformer(**inputs)
    channels = transformer.config.out_channels
    latents, condition = inputs["hidden_states"].split([channels, inputs["hidden_states"].shape[1] - channels], dim=1)
    scheduler = make_scheduler(STEPS, FLOW_SHIFT, keep_idle_steps=True)  # Otherwise it would be one step.
    for timestep in scheduler.timesteps:
        step_inputs = {
            **inputs,
            "hidden_states": torch.cat([latents, condition], dim=1),
            "timestep": timestep[None].to(latents.device),
        }
        latents = scheduler.step(transformer(**step_inputs), timestep, latents, return_dict=False)[0]
    return Outputs(one_pass.cpu(), latents.cpu())


def _compare(actual: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    actual, expected = actual.double().flatten(), expected.double().flatten()
    cosine = torch.nn.functional.cosine_similarity(actual, expected, dim=0)
    return cosine.item(), ((actual - expected).abs().max() / expected.abs().max()).item()
