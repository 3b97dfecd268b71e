"""Talking-head video of any length, chunk after chunk: `InfiniteTalkPipeline.__call__` is the story."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from transformers import CLIPVisionModel

from infinitetalk.conditioning import vae as latent_space
from infinitetalk.conditioning.audio_windows import lengthen_tail, split_windows, windows
from infinitetalk.conditioning.image import BUCKETS, Buckets, Picture, Size, nearest_bucket, resize_and_crop
from infinitetalk.conditioning.image_encoder import encode_picture
from infinitetalk.conditioning.speaker_masks import Box, speaker_masks
from infinitetalk.errors import InfiniteTalkError, InvalidInput
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.sampling.color_match import correct_colours
from infinitetalk.sampling.guidance import Branch, Guidance, GuidanceScales, ProjectedGuidance
from infinitetalk.sampling.resume_point import Checkpoint
from infinitetalk.sampling.scheduler import Chunk, make_scheduler, plan_chunks, used_timesteps
from infinitetalk.sampling.teacache import TeaCache

KEPT_PICTURES = 4  # encoded, for the next call with the same picture


class TextEncoder(Protocol):
    def __call__(self, prompt: str) -> torch.Tensor:
        """n, text_dim: as many rows as the prompt has tokens."""


class Source(Protocol):
    """What the person looks like: a picture, or a video at 25 frames a second to be dubbed."""

    is_still: bool

    def frame(self, number: int) -> Picture:
        """The frame with this number, the last one when there are no more."""


@dataclass(frozen=True)
class Settings:
    num_inference_steps: int = 8
    flow_shift: float = 3.0
    keep_idle_steps: bool = False  # as the reference does: see `infinitetalk.sampling.scheduler.used_timesteps`
    text_guidance_scale: float = 1.0
    audio_guidance_scale: float = 6.0
    projected_guidance: ProjectedGuidance | None = field(default_factory=ProjectedGuidance)
    color_correction_strength: float = 0.2
    teacache_threshold: float | None = None
    num_frames_per_chunk: int = 81
    motion_frames: int = 9
    resolution: str = "480p"

    @property
    def steps_made(self) -> int:
        """Of a chunk; each takes one pass of the transformer for each branch of guidance."""
        timesteps = used_timesteps(self.num_inference_steps, self.flow_shift, keep_idle_steps=self.keep_idle_steps)
        return len(timesteps) - 1


@dataclass(frozen=True)
class GeneratedChunk:
    index: int
    frames: NDArray[np.uint8]  # T x H x W x 3: those that are new to the video
    checkpoint: Checkpoint


@dataclass(frozen=True)
class _Reference:
    """A picture as the networks are given it."""

    picture: torch.Tensor  # 1, 3, 1, H, W in [-1, 1]
    image_embeds: torch.Tensor  # 1, image tokens, image_dim
    latents: torch.Tensor  # 1, 20, T, h, w
    still: torch.Tensor  # 1, 16, 1, h, w: the picture alone


class InfiniteTalkPipeline:
    """Holds the loaded networks. Not safe for two calls at once."""

    def __init__(
        self,
        *,
        transformer: InfiniteTalkTransformer3DModel,
        vae: AutoencoderKLWan,
        image_encoder: CLIPVisionModel,
        text_encoder: TextEncoder,
        buckets: Mapping[str, Buckets] = BUCKETS,
    ) -> None:
        self.transformer = transformer
        self.vae = vae
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.buckets = buckets
        self._references: OrderedDict[tuple[str, int], _Reference] = OrderedDict()

    @torch.no_grad()
    def __call__(
        self,
        *,
        source: Source,
        audio_embeds: Sequence[torch.Tensor],
        prompt: str,
        negative_prompt: str,
        seed: int,
        settings: Settings = Settings(),
        num_frames: int | None = None,
        size: Size | None = None,
        speaker_boxes: Sequence[Box] | None = None,
        resume: Checkpoint | None = None,
        draw_noise: Callable[[int, torch.Size], torch.Tensor] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Iterator[GeneratedChunk]:
        """Yield the video chunk after chunk.

        audio_embeds: one or two voices, left to right, each N, blocks, channels at 25 rows a second.
        num_frames: as many as the longest voice has, if not given.
        size: height and width in pixels, each a multiple of 16; by default the bucket of the source's shape.
        resume: go on after a chunk, also of another process.
        draw_noise: of a chunk's number and a shape; by default from `seed`.
        on_step: called with chunk and step before each step; may raise to stop.

        Raises InvalidInput for what cannot be rendered, InfiniteTalkError `not_finite` when the network gives NaN.
        """
        # 1. Check inputs
        self._check(audio_embeds, settings, size, speaker_boxes)
        num_frames = num_frames or max(len(voice) for voice in audio_embeds)
        first_frame = source.frame(0)
        size = size or nearest_bucket(first_frame.shape[0], first_frame.shape[1], self.buckets[settings.resolution])

        # 2. Encode the prompts, of which the second is needed for guidance by text only
        prompts = [self.text_encoder(prompt)[None]]
        if settings.text_guidance_scale != 1:
            prompts.append(self.text_encoder(negative_prompt)[None])

        # 3. Plan the chunks
        chunks = plan_chunks(
            num_frames, num_frames_per_chunk=settings.num_frames_per_chunk, motion_frames=settings.motion_frames
        )
        motion = None
        if resume is not None:
            chunks, motion = chunks[resume.next_chunk :], resume.motion_frames
            if motion.shape[2:] != (settings.motion_frames, *size):
                raise InvalidInput("checkpoint_invalid", "The checkpoint is of a video with another size.")

        masks = None
        if len(audio_embeds) == 2:
            masks = speaker_masks((first_frame.shape[0], first_frame.shape[1]), size, speaker_boxes)
        colours = resize_and_crop(first_frame, size)
        draw_noise = draw_noise or (lambda number, shape: _noise(seed, number, shape))
        for chunk in chunks:
            # 4. What this chunk looks like, and what is heard in it
            frame = first_frame if source.is_still else source.frame(chunk.start)
            reference = self._reference(frame, size, chunk.num_frames)
            audio = self._audio(audio_embeds, chunk)

            # 5. Start from the picture, or from the last frames shown
            clean = reference.still if motion is None else latent_space.encode(self.vae, motion)

            # 6. Denoise
            noise = draw_noise(chunk.index, reference.latents[:, :16].shape)
            latents = self.denoise(chunk.index, noise, clean, reference, audio, masks, prompts, settings, on_step)
            if not torch.isfinite(latents).all():
                raise InfiniteTalkError("not_finite", "The network gave values that are no numbers.")

            # 7. Decode, and keep the colours where they began
            video = latent_space.decode(self.vae, latents)
            video = correct_colours(video, colours, settings.color_correction_strength)

            # 8. Hand out what is new
            motion = video[:, :, -settings.motion_frames :].cpu()
            new = video[0, :, chunk.keep_from : num_frames - chunk.start]
            yield GeneratedChunk(chunk.index, _to_pixels(new), Checkpoint(chunk.index + 1, motion))

    def denoise(
        self,
        number: int,
        noise: torch.Tensor,
        clean: torch.Tensor,
        reference: _Reference,
        audio: tuple[torch.Tensor, torch.Tensor],
        masks: torch.Tensor | None,
        prompts: list[torch.Tensor],
        settings: Settings,
        on_step: Callable[[int, int], None] | None,
    ) -> torch.Tensor:
        """noise: 1, 16, T, h, w; clean: 1, 16, k, h, w, which the first k latent frames must be.

        Returns 1, 16, T, h, w.
        """
        device = self.transformer.device
        scheduler = make_scheduler(
            settings.num_inference_steps, settings.flow_shift, keep_idle_steps=settings.keep_idle_steps
        )
        guidance = Guidance(
            GuidanceScales(settings.text_guidance_scale, settings.audio_guidance_scale), settings.projected_guidance
        )
        caches: dict[Branch, TeaCache | None] = dict.fromkeys(guidance.branches)
        if settings.teacache_threshold:
            caches = {
                branch: TeaCache(settings.teacache_threshold, settings.resolution) for branch in guidance.branches
            }
        silence = tuple(torch.zeros_like(part[:1]) for part in audio)
        condition, latents, fixed = reference.latents.to(device), noise.to(device), clean.shape[2]

        for step, timestep in enumerate(scheduler.timesteps):
            if on_step is not None:
                on_step(number, step)
            latents[:, :, :fixed] = clean

            def predict(
                branch: Branch, latents: torch.Tensor = latents, timestep: torch.Tensor = timestep
            ) -> torch.Tensor:
                hears = branch in (Branch.FULL, Branch.NO_TEXT)
                reads = branch in (Branch.FULL, Branch.NO_AUDIO)
                velocity: torch.Tensor = self.transformer(
                    torch.cat([latents, condition], dim=1),
                    timestep[None].to(device),
                    prompts[0 if reads else 1].to(device),
                    reference.image_embeds.to(device),
                    *(part.to(device) for part in (audio if hears else silence)),
                    # Without a voice nobody is told apart.
                    speaker_masks=masks.to(device) if masks is not None and hears else None,
                    block_cache=caches[branch],
                )
                return velocity

            latents = scheduler.step(guidance(predict), timestep, latents, return_dict=False)[0]
        latents[:, :, :fixed] = clean
        return latents

    def _check(
        self,
        audio_embeds: Sequence[torch.Tensor],
        settings: Settings,
        size: Size | None,
        speaker_boxes: Sequence[Box] | None,
    ) -> None:
        if len(audio_embeds) not in (1, 2):
            raise InvalidInput("speakers_invalid", "One or two voices can be rendered.")
        if any(len(voice) == 0 for voice in audio_embeds):
            raise InvalidInput("audio_empty", "A voice is empty.")
        if not all(torch.isfinite(voice).all() for voice in audio_embeds):
            raise InvalidInput("audio_invalid", "The features of a voice hold values that are no numbers.")
        if speaker_boxes is not None and len(speaker_boxes) != len(audio_embeds):
            raise InvalidInput("speakers_invalid", "There must be one box for each voice.")
        if size is not None and any(side <= 0 or side % 16 for side in size):
            raise InvalidInput("size_invalid", "Height and width must be multiples of 16.")
        if settings.num_frames_per_chunk % 4 != 1 or settings.motion_frames % 4 != 1:
            raise InvalidInput("frames_invalid", "Frames of a chunk, and motion frames, must be 4n + 1.")
        if settings.motion_frames >= settings.num_frames_per_chunk:
            raise InvalidInput("frames_invalid", "A chunk must have more frames than it takes over.")

    def _reference(self, frame: Picture, size: tuple[int, int], num_frames: int) -> _Reference:
        key = hashlib.sha256(frame.tobytes() + repr((frame.shape, size)).encode()).hexdigest(), num_frames
        if key not in self._references:
            picture = resize_and_crop(frame, size)
            self._references[key] = _Reference(
                picture,
                encode_picture(self.image_encoder, picture),
                latent_space.reference_latents(self.vae, picture, num_frames),
                latent_space.encode(self.vae, picture),
            )
            while len(self._references) > KEPT_PICTURES:
                self._references.popitem(last=False)
        self._references.move_to_end(key)
        return self._references[key]

    def _audio(self, audio_embeds: Sequence[torch.Tensor], chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        """The voices' windows of a chunk: P, 1, rows, ... and P, T - 1, rows, ..."""
        config = self.transformer.config
        voices = [lengthen_tail(voice, chunk.stop) for voice in audio_embeds] if chunk.is_last else audio_embeds
        heard = [windows(voice, chunk.start, chunk.num_frames, config.audio_window) for voice in voices]
        return split_windows(torch.stack(heard), config.vae_scale)


def _noise(seed: int, chunk: int, shape: torch.Size) -> torch.Tensor:
    # Of the chunk's own generator: a resumed video equals an unbroken one. On the CPU: all devices agree.
    digest = hashlib.sha256(f"{seed}/{chunk}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(shape, generator=generator)


def _to_pixels(video: torch.Tensor) -> NDArray[np.uint8]:
    """3, T, H, W in [-1, 1] -> T, H, W, 3."""
    pixels = ((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 3, 0).cpu().numpy()
