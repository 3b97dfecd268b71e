"""Where the time of a chunk goes: the pipeline itself runs, with a clock around each of its stages."""

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
from infinitetalk.conditioning import vae as vae_latents
from infinitetalk.conditioning.image import Picture
from infinitetalk.conditioning.text_encoder import NEGATIVE_PROMPT
from infinitetalk.pipeline import GeneratedChunk, InfiniteTalkPipeline, Settings
from infinitetalk.sampling.resume_point import Checkpoint

PROMPT = "A person is talking to the camera in a quiet room, calm and friendly."
# What the pipeline calls in each stage: where it looks the function up, and its name there.
FUNCTIONS = {
    "CLIP": (pipeline, "encode_picture"),
    "VAE encode, reference": (vae_latents, "reference_latents"),
    "VAE encode": (vae_latents, "encode"),
    "VAE decode": (vae_latents, "decode"),
    "colours": (pipeline, "correct_colours"),
    "copy to host": (pipeline, "_to_pixels"),
}


@dataclass(frozen=True)
class ChunkTiming:
    seconds: float
    stages: dict[str, float]


class StillPicture:
    is_still = True

    def __init__(self, height: int, width: int, seed: int) -> None:
        self._picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    def frame(self, number: int) -> Picture:
        return self._picture


class _Stop(Exception):
    pass


class ChunkBench:
    """One pipeline, one size."""

    def __init__(
        self, networks: InfiniteTalkPipeline, settings: Settings, size: tuple[int, int], device: torch.device
    ) -> None:
        self._pipeline = networks
        self._settings = settings
        self._size = size
        self._device = device

    def seconds_to_first_step(self, *, seed: int) -> ChunkTiming:
        """With a seed for the first time, picture and prompt are new; from then on they are known."""

        def stop(chunk: int, step: int) -> None:
            raise _Stop

        with self._clock() as timing, contextlib.suppress(_Stop):
            next(self._chunks(self._settings, seed, f"{PROMPT} {seed}", on_step=stop))
        return ChunkTiming(timing["total"], {name: value for name, value in timing.items() if name != "total"})

    def steady_chunk(self, settings: Settings, seed: int) -> ChunkTiming:
        """One that goes on from another: its reference is encoded already."""
        height, width = self._size
        motion = torch.rand(1, 3, settings.motion_frames, height, width) * 2 - 1
        with self._clock() as timing:
            next(self._chunks(settings, seed, PROMPT, resume=Checkpoint(1, motion)))
        return ChunkTiming(timing["total"], {name: value for name, value in timing.items() if name != "total"})

    def _chunks(self, settings: Settings, seed: int, prompt: str, **named: Any) -> Iterator[GeneratedChunk]:
        num_frames = 2 * settings.num_frames_per_chunk - settings.motion_frames
        config = self._pipeline.transformer.config
        voice = torch.randn(num_frames, config.audio_blocks, config.audio_channels)
        return self._pipeline(
            source=StillPicture(*self._size, seed),
            audio_embeds=[voice],
            prompt=prompt,
            negative_prompt=NEGATIVE_PROMPT,
            seed=seed,
            settings=settings,
            num_frames=num_frames,
            size=self._size,
            **named,
        )

    @contextlib.contextmanager
    def _clock(self) -> Iterator[dict[str, float]]:
        seconds: dict[str, float] = {}
        with contextlib.ExitStack() as patches:
            within: list[str] = []  # A stage that another one calls is part of it.
            for name, (owner, function) in FUNCTIONS.items():
                timed = self._timed(name, getattr(owner, function), seconds, within)
                patches.enter_context(patch.object(owner, function, timed))
            for name, attribute in (("DiT", "denoise"), ("text", "text_encoder")):
                timed = self._timed(name, getattr(self._pipeline, attribute), seconds, within)
                patches.enter_context(patch.object(self._pipeline, attribute, timed))
            synchronise(self._device)
            start = time.perf_counter()
            yield seconds
            synchronise(self._device)
            seconds["total"] = time.perf_counter() - start

    def _timed(
        self, name: str, call: Callable[..., Any], seconds: dict[str, float], within: list[str]
    ) -> Callable[..., Any]:
        @wraps(call)
        def timed(*arguments: Any, **named: Any) -> Any:
            if within:
                return call(*arguments, **named)
            within.append(name)
            synchronise(self._device)
            start = time.perf_counter()
            try:
                result = call(*arguments, **named)
                synchronise(self._device)
                return result
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
                within.pop()

        return timed
