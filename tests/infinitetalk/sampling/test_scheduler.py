"""Steps that change nothing are left out: which these are, and how little the film differs without them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infinitetalk.checkpoints.pipeline_from_files import load_pipeline
from infinitetalk.model.configs import TINY_SIZES
from infinitetalk.pipeline import InfiniteTalkPipeline
from infinitetalk.sampling.guidance import GuidanceScales
from infinitetalk.sampling.scheduler import make_scheduler
from infinitetalk.sampling.settings import Settings
from infinitetalk.sampling.timesteps import IDLE_BELOW, shifted_timesteps, used_timesteps
from render.parameters import PRESETS, Parameters

LONGEST = 50  # sample_steps of the API


@pytest.mark.parametrize(
    ("steps", "shift", "made"),
    [
        (1, 2.0, 1),
        (2, 2.0, 1),
        (4, 2.0, 3),  # fast
        (8, 2.0, 7),  # standard
        (8, 3.0, 7),  # the defaults of the API
        (8, 3.02, 8),  # from 3.01 to 0
        (40, 7.0, 40),  # quality
        (40, 11.0, 40),  # and in 720p
        (50, 2.0, 49),
        (50, 0.1, 48),  # With such a shift more steps than one are as small.
        (50, 0.01, 38),
    ],
)
def test_so_many_steps_are_made(steps: int, shift: float, made: int) -> None:
    assert Settings(num_inference_steps=steps, flow_shift=shift).steps_made == made
    assert Settings(num_inference_steps=steps, flow_shift=shift, keep_idle_steps=True).steps_made == steps


@pytest.mark.parametrize(("preset", "made"), [("fast", 3), ("standard", 7), ("quality", 40), (None, 7)])
def test_the_presets_of_the_service_make_so_many(preset: str | None, made: int) -> None:
    parameters = Parameters.resolve({"seed": 1, "preset": preset})

    assert len(used_timesteps(parameters.sample_steps, parameters.sample_shift)) - 1 == made
    assert PRESETS.keys() == {"fast", "standard", "quality"}


def test_the_last_step_that_is_made_ends_at_zero_and_all_before_are_the_references() -> None:
    for steps in range(1, LONGEST + 1):
        for shift in (0.01, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 11.0):
            every, used = shifted_timesteps(steps, shift), used_timesteps(steps, shift)
            made = len(used) - 1
            assert made >= 1
            assert np.array_equal(used[:made], every[:made])
            assert used[-1] == 0
            # What is left out, all together, moves the latents by so much of a velocity at most.
            assert every[made] <= IDLE_BELOW
            scheduler = make_scheduler(steps, shift)
            assert (len(scheduler.timesteps), scheduler.sigmas[-1]) == (made, 0)


class Recorder(InfiniteTalkPipeline):
    """Remembers the latents of each chunk, and the velocities."""

    def denoise(self, *arguments):
        self.velocities = []
        self.latents = super().denoise(*arguments)
        return self.latents


@pytest.fixture(scope="module")
def pipeline(weights: Path):
    made, _ = load_pipeline(weights, dtype=torch.float32)
    made.__class__ = Recorder
    made.transformer.register_forward_hook(lambda module, given, velocity: made.velocities.append(velocity))
    return made


@pytest.mark.parametrize(("steps", "shift", "audio"), [(2, 2.0, 1.0), (4, 2.0, 2.0), (8, 3.0, 6.0)])
def test_a_film_without_the_step_looks_the_same(pipeline, steps, shift, audio) -> None:
    config, generator = pipeline.transformer.config, torch.Generator().manual_seed(1)
    voice = torch.randn(17, config.audio_blocks, config.audio_channels, generator=generator)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    class Still:
        is_still = True

        def frame(self, number: int) -> np.ndarray:
            return picture

    def run(keep: bool) -> tuple[np.ndarray, torch.Tensor, int, list]:
        settings = Settings(
            num_inference_steps=steps,
            flow_shift=shift,
            audio_guidance_scale=audio,
            projected_guidance=None,
            keep_idle_steps=keep,
            num_frames_per_chunk=TINY_SIZES["num_frames_per_chunk"],
            motion_frames=TINY_SIZES["motion_frames"],
        )
        reported = []
        [chunk] = pipeline(
            source=Still(),
            audio_embeds=[voice],
            prompt="A person is talking.",
            negative_prompt="",
            seed=1,
            settings=settings,
            size=(64, 64),
            on_step=lambda number, step: reported.append(step),
        )
        assert reported == list(range(settings.steps_made))
        return chunk.frames, pipeline.latents, len(pipeline.velocities), pipeline.velocities

    whole, expected, calls, velocities = run(keep=True)
    film, latents, fewer, _ = run(keep=False)

    passes = len(GuidanceScales(1.0, audio).branches())
    assert (calls, fewer) == (steps * passes, (steps - 1) * passes)
    # Both end at 0; they differ by the sigma of the step left out times the difference of the last two velocities.
    guided = [_guided(velocities[-count * passes :][:passes], audio) for count in (2, 1)]
    sigma = shifted_timesteps(steps, shift)[-2] / 1000
    bound = sigma * (guided[0] - guided[1]).abs().max().item()
    assert 0 < (latents - expected).abs().max().item() <= bound * 1.001 + 1e-6
    # Random networks: with trained ones the last two velocities hardly differ at all.
    difference = np.abs(film.astype(int) - whole)
    assert difference.max() < 4
    assert difference.mean() < 0.1


def _guided(predicted: list[torch.Tensor], audio: float) -> torch.Tensor:
    full = predicted[0]
    return full if len(predicted) == 1 else full + (audio - 1) * (full - predicted[1])
