"""Talking-head video of any length, chunk after chunk: `InfiniteTalkPipeline.__call__` tells the steps in order."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from transformers import CLIPVisionModel

from infinitetalk.buckets import BUCKETS, Buckets, Chunk, Size, nearest_bucket
from infinitetalk.conditioning import vae as latent_space
from infinitetalk.conditioning.audio_windows import lengthen_tail, split_windows, windows
from infinitetalk.conditioning.chunk_inputs import ChunkInputs
from infinitetalk.conditioning.image import resize_and_crop
from infinitetalk.conditioning.reference import ReferenceEncoder
from infinitetalk.conditioning.source import Source
from infinitetalk.conditioning.speaker_masks import Box, speaker_masks
from infinitetalk.errors import InfiniteTalkError, InvalidInput
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.sampling.color_match import correct_colors
from infinitetalk.sampling.guidance import Branch, Guidance, GuidanceScales
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.sampling.scheduler import make_scheduler
from infinitetalk.sampling.settings import DEFAULT_SETTINGS, Settings
from infinitetalk.sampling.teacache import TeaCache


class TextEncoder(Protocol):
    def __call__(self, prompt: str) -> torch.Tensor:
        """n, text_dim: one row for each token of the prompt."""


@dataclass(frozen=True)
class GeneratedChunk:
    index: int
    frames: NDArray[np.uint8]  # T x H x W x 3: only those that the chunk before has not shown
    resume_point: ResumePoint


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
        self.text_encoder = text_encoder
        self.buckets = buckets
        self._encode_reference = ReferenceEncoder(vae, image_encoder)

    @torch.no_grad()
    def __call__(
        self,
        *,
        source: Source,
        audio_embeds: Sequence[torch.Tensor],
        prompt: str,
        negative_prompt: str,
        seed: int,
        settings: Settings = DEFAULT_SETTINGS,
        num_frames: int | None = None,
        size: Size | None = None,
        speaker_boxes: Sequence[Sequence[Box]] | None = None,
        resume: ResumePoint | None = None,
        draw_noise: Callable[[int, torch.Size], torch.Tensor] | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Iterator[GeneratedChunk]:
        """Yield the video chunk after chunk.

        audio_embeds: one or two voices, each N, blocks, channels at 25 rows a second.
        num_frames: by default the length of the longest voice.
        size: height and width in pixels, each a multiple of 16; by default the bucket nearest to the source's shape.
        speaker_boxes: the boxes of each voice's speaker, see `speaker_masks`; by default the left and the right half.
        resume: continue after a chunk, which another process may have generated.
        draw_noise: from a chunk's number and a shape; by default seeded by `seed` and the number.
        on_step: called with chunk and step before each step; may raise to stop.

        Raises InvalidInput for inputs that cannot be rendered, InfiniteTalkError `not_finite` when the network's
        output has NaN or infinite values.
        """
        # 1. Check the inputs
        self._check(audio_embeds, settings, size, speaker_boxes)

        # 2. Choose the length and the size of the frames
        num_frames = num_frames or max(len(voice) for voice in audio_embeds)
        first_frame = source.frame(0)
        height, width = first_frame.shape[:2]
        size = size or nearest_bucket(height, width, self.buckets[settings.resolution])

        # 3. Encode the prompts; the negative one is needed only for guidance by text
        encoded = self.text_encoder(prompt)[None]
        negative = self.text_encoder(negative_prompt)[None] if settings.text_guidance_scale != 1 else None

        # 4. Plan the chunks
        chunks = settings.plan_chunks(num_frames)

        # 5. Skip the chunks that are finished, and take over the last frames shown
        motion = None
        if resume is not None:
            chunks, motion = chunks[resume.next_chunk :], resume.motion_frames
            if motion.shape[2:] != (settings.motion_frames, *size):
                raise InvalidInput("checkpoint_invalid", "The checkpoint is of a video with another size.")

        # 6. Place the two speakers in the frame
        masks = speaker_masks((height, width), size, speaker_boxes) if len(audio_embeds) == 2 else None

        # 7. Keep the first frame as the reference for the colors of the whole video
        color_reference = resize_and_crop(first_frame, size)

        draw_noise = draw_noise or (lambda number, shape: _noise(seed, number, shape))
        for chunk in chunks:
            # 8. Encode the frame that this chunk starts from, and take its part of the voices
            frame = first_frame if source.is_still else source.frame(chunk.start)
            reference = self._encode_reference(frame, size, chunk.num_frames)
            audio_first, audio_latter = self._audio(audio_embeds, chunk)

            # 9. Denoise, from the image or from the last frames shown
            inputs = ChunkInputs(
                index=chunk.index,
                noise=draw_noise(chunk.index, reference.latents[:, :16].shape),
                start=reference.still if motion is None else latent_space.encode(self.vae, motion),
                condition=reference.latents,
                image_embeds=reference.image_embeds,
                prompt=encoded,
                negative_prompt=negative,
                audio_first=audio_first,
                audio_latter=audio_latter,
                speaker_masks=masks,
            )
            latents = self.denoise(inputs.to(self.transformer.device), settings, on_step)
            if not torch.isfinite(latents).all():
                raise InfiniteTalkError("not_finite", "The network's output has NaN or infinite values.")

            # 10. Decode, and correct the colors
            video = latent_space.decode(self.vae, latents)
            video = correct_colors(video, color_reference, settings.color_correction_strength)

            # 11. Yield the new frames
            motion = video[:, :, -settings.motion_frames :].cpu()
            new = video[0, :, chunk.keep_from : num_frames - chunk.start]
            yield GeneratedChunk(chunk.index, _to_pixels(new), ResumePoint(chunk.index + 1, motion))

    def denoise(
        self, inputs: ChunkInputs, settings: Settings, on_step: Callable[[int, int], None] | None
    ) -> torch.Tensor:
        """inputs: on the transformer's device. Returns the chunk's latents: 1, 16, T, h, w."""
        scheduler = make_scheduler(
            settings.num_inference_steps, settings.flow_shift, keep_idle_steps=settings.keep_idle_steps
        )
        scales = GuidanceScales(settings.text_guidance_scale, settings.audio_guidance_scale)
        guidance = Guidance(scales, settings.projected_guidance)
        caches = {branch: _block_cache(settings) for branch in guidance.branches}
        latents, fixed = inputs.noise.clone(), inputs.start.shape[2]

        for step, timestep in enumerate(scheduler.timesteps):
            if on_step is not None:
                on_step(inputs.index, step)
            latents[:, :, :fixed] = inputs.start
            velocities = {
                branch: self.predict(latents, timestep, inputs, branch, caches[branch]) for branch in guidance.branches
            }
            latents = scheduler.step(guidance(velocities), timestep, latents, return_dict=False)[0]
        latents[:, :, :fixed] = inputs.start
        return latents

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        inputs: ChunkInputs,
        branch: Branch,
        block_cache: TeaCache | None,
    ) -> torch.Tensor:
        """One pass. latents: 1, 16, T, h, w; timestep: a scalar, 0..1000. Returns the velocity, shaped as latents."""
        audio_first, audio_latter, masks = inputs.audio_first, inputs.audio_latter, inputs.speaker_masks
        if not branch.with_audio:  # One silent voice, and so no speakers to be told apart.
            audio_first, audio_latter = torch.zeros_like(audio_first[:1]), torch.zeros_like(audio_latter[:1])
            masks = None
        velocity: torch.Tensor = self.transformer(
            torch.cat([latents, inputs.condition], dim=1),
            timestep[None].to(latents.device),
            inputs.prompt if branch.with_text else inputs.negative_prompt,
            inputs.image_embeds,
            audio_first,
            audio_latter,
            speaker_masks=masks,
            block_cache=block_cache,
        )
        return velocity

    def _check(
        self,
        audio_embeds: Sequence[torch.Tensor],
        settings: Settings,
        size: Size | None,
        speaker_boxes: Sequence[Sequence[Box]] | None,
    ) -> None:
        if len(audio_embeds) not in (1, 2):
            raise InvalidInput("speakers_invalid", "One or two voices can be rendered.")
        if any(len(voice) == 0 for voice in audio_embeds):
            raise InvalidInput("audio_empty", "A voice is empty.")
        if not all(torch.isfinite(voice).all() for voice in audio_embeds):
            raise InvalidInput("audio_invalid", "The features of a voice hold NaN or infinite values.")
        if speaker_boxes is not None and len(speaker_boxes) != len(audio_embeds):
            raise InvalidInput("speakers_invalid", "There must be boxes for each voice.")
        if size is not None and any(side <= 0 or side % 16 for side in size):
            raise InvalidInput("size_invalid", "Height and width must be multiples of 16.")
        settings.check_frames()

    def _audio(self, audio_embeds: Sequence[torch.Tensor], chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        """A chunk's windows of P voices: P, 1, rows, blocks, channels and P, T - 1, rows, blocks, channels."""
        config = self.transformer.config
        voices = [lengthen_tail(voice, chunk.stop) for voice in audio_embeds] if chunk.is_last else audio_embeds
        per_voice = [windows(voice, chunk.start, chunk.num_frames, config.audio_window) for voice in voices]
        return split_windows(torch.stack(per_voice), config.vae_scale)


def _block_cache(settings: Settings) -> TeaCache | None:
    """A new one for each branch and chunk."""
    return TeaCache(settings.teacache_threshold, settings.resolution) if settings.teacache_threshold else None


def _noise(seed: int, chunk: int, shape: torch.Size) -> torch.Tensor:
    # A generator for each chunk: a resumed video equals an unbroken one. On the CPU: the same noise for every device.
    digest = hashlib.sha256(f"{seed}/{chunk}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(shape, generator=generator)


def _to_pixels(video: torch.Tensor) -> NDArray[np.uint8]:
    """3, T, H, W in [-1, 1] -> T, H, W, 3."""
    pixels = ((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 3, 0).cpu().numpy()
