"""Wan's autoencoder: video to latents and back, and the reference latents that each chunk is conditioned on.

F video frames are T = (F - 1) / 4 + 1 latent frames; H x W pixels are h x w = H / 8 x W / 8 latents.
"""

import torch
from diffusers import AutoencoderKLWan


def encode(vae: AutoencoderKLWan, video: torch.Tensor) -> torch.Tensor:
    """1, 3, F, H, W in [-1, 1] with F = 4n + 1 -> 1, 16, T, h, w in float32: the distribution's mode, normalised."""
    mean, deviation = _statistics(vae)
    latents = vae.encode(video.to(vae.device, vae.dtype)).latent_dist.mode().float()
    return (latents - mean) / deviation


def decode(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """1, 16, T, h, w -> 1, 3, 4 * T - 3, 8 * h, 8 * w: the inverse of `encode`, float32 in [-1, 1]."""
    mean, deviation = _statistics(vae)
    video: torch.Tensor = vae.decode((latents.to(mean) * deviation + mean).to(vae.dtype)).sample
    return video.float().clamp(-1, 1)


def reference_latents(vae: AutoencoderKLWan, image: torch.Tensor, num_frames: int) -> torch.Tensor:
    """image: 1, 3, 1, H, W in [-1, 1]; num_frames: 4n + 1.

    Returns 1, 20, T, h, w: a mask (4 channels) that is 1 in the first latent frame, and the latents (16 channels) of
    the image followed by gray frames.
    """
    gray = image.new_zeros(*image.shape[:2], num_frames - 1, *image.shape[3:])
    latents = encode(vae, torch.cat([image, gray], dim=2))
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, 0] = 1
    return torch.cat([mask, latents], dim=1)


def _statistics(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    shape = 1, vae.config.z_dim, 1, 1, 1
    values = vae.config.latents_mean, vae.config.latents_std
    mean, deviation = (torch.tensor(value, dtype=torch.float32, device=vae.device).view(shape) for value in values)
    return mean, deviation
