"""Where the time of a chunk goes: the pipeline runs as it is, with a clock around each of its stages."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from infinitetalk import pipeline
from infinitetalk.bench.timing import synchronise
from infinitetalk.conditioning import reference
from infinitetalk.conditioning import vae as vae_latents
from infinitetalk.conditioning.source import StillImage
from infinitetalk.conditioning.text_encoder import NEGATIVE_PROMPT
from infinitetalk.pipeline import GeneratedChunk, InfiniteTalkPipeline
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.sampling.settings import Settings

PROMPT = "A person is talking to the camera in a quiet room, calm and friendly."
# The function of each stage: the module in which its caller looks it up, and its name there.
FUNCTIONS = {
    "CLIP": (reference, "encode_image"),
    "VAE encode, reference": (vae_latents, "reference_latents"),
    "VAE encode": (vae_latents, "encode"),
    "VAE decode": (vae_latents, "decode"),
    "colors": (pipeline, "correct_colors"),
    "copy to host": (pipeline, "_to_pixels"),
}


@dataclass(frozen=True)
class ChunkTiming:
    seconds: float
    stages: dict[str, float]


class _Stop(Exception):
    """Ends a render at its first step."""


class ChunkBench:
    """Times chunks of one pipeline at one frame size."""

    def __init__(
        self, networks: InfiniteTalkPipeline, settings: Settings, size: tuple[int, int], device: torch.device
    ) -> None:
        self._pipeline = networks
        self._settings = settings
        self._size = size
        self._device = device

    def seconds_to_first_step(self, *, seed: int) -> ChunkTiming:
        """With a new seed, image and prompt are new; with a seed used before, they are encoded already."""

        def stop(chunk: int, step: int) -> None:
            raise _Stop

        with self._clock() as timing, contextlib.suppress(_Stop):
            next(self._chunks(self._settings, seed, f"{PROMPT} {seed}", on_step=stop))
        return ChunkTiming(timing["total"], {name: value for name, value in timing.items() if name != "total"})

    def steady_chunk(self, settings: Settings, seed: int) -> ChunkTiming:
        """A chunk that continues from another: its reference is encoded already."""
        height, width = self._size
        motion = torch.rand(1, 3, settings.motion_frames, height, width) * 2 - 1
        with self._clock() as timing:
            next(self._chunks(settings, seed, PROMPT, resume=ResumePoint(1, motion)))
        return ChunkTiming(timing["total"], {name: value for name, value in timing.items() if name != "total"})

    def _chunks(self, settings: Settings, seed: int, prompt: str, **keywords: Any) -> Iterator[GeneratedChunk]:
        num_frames = 2 * settings.num_frames_per_chunk - settings.motion_frames
        config = self._pipeline.transformer.config
        image = np.random.default_rng(seed).integers(0, 256, (*self._size, 3), dtype=np.uint8)
        voice = torch.randn(num_frames, config.audio_blocks, config.audio_channels)
        return self._pipeline(
            source=StillImage(image),
            audio_embeds=[voice],
            prompt=prompt,
            negative_prompt=NEGATIVE_PROMPT,
            seed=seed,
            settings=settings,
            num_frames=num_frames,
            size=self._size,
            **keywords,
        )

    @contextlib.contextmanager
    def _clock(self) -> Iterator[dict[str, float]]:
        seconds: dict[str, float] = {}
        with contextlib.ExitStack() as patches:
            running: list[str] = []  # A stage that another stage calls counts as part of that one.
            for name, (owner, function) in FUNCTIONS.items():
                timed = self._timed(name, getattr(owner, function), seconds, running)
                patches.enter_context(patch.object(owner, function, timed))
            for name, attribute in (("DiT", "denoise"), ("text", "text_encoder")):
                timed = self._timed(name, getattr(self._pipeline, attribute), seconds, running)
                patches.enter_context(patch.object(self._pipeline, attribute, timed))
            synchronise(self._device)
            start = time.perf_counter()
            yield seconds
            synchronise(self._device)
            seconds["total"] = time.perf_counter() - start

    def _timed(
        self, name: str, call: Callable[..., Any], seconds: dict[str, float], running: list[str]
    ) -> Callable[..., Any]:
        @wraps(call)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            if running:
                return call(*arguments, **keywords)
            running.append(name)
            synchronise(self._device)
            start = time.perf_counter()
            try:
                result = call(*arguments, **keywords)
                synchronise(self._device)
                return result
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
                running.pop()

        return timed
