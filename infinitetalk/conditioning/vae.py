"""Video to latents and back, and the reference that each chunk is conditioned on."""

import torch
from diffusers import AutoencoderKLWan


def encode(vae: AutoencoderKLWan, video: torch.Tensor) -> torch.Tensor:
    """1, 3, F, H, W in [-1, 1] with F = 4n + 1 -> 1, 16, n + 1, H / 8, W / 8: the mode, normalised, in float32."""
    mean, deviation = _statistics(vae)
    latents = vae.encode(video.to(vae.device, vae.dtype)).latent_dist.mode().float()
    return (latents - mean) / deviation


def decode(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """1, 16, T, h, w -> 1, 3, 4 * T - 3, 8 * h, 8 * w: the inverse, in float32, clamped to [-1, 1]."""
    mean, deviation = _statistics(vae)
    video: torch.Tensor = vae.decode((latents.to(mean) * deviation + mean).to(vae.dtype)).sample
    return video.float().clamp(-1, 1)


def reference_latents(vae: AutoencoderKLWan, picture: torch.Tensor, num_frames: int) -> torch.Tensor:
    """1, 20, T, h, w: a mask (4) that is 1 in the first latent frame, and the latent (16) of the picture and then grey.

    picture: 1, 3, 1, H, W in [-1, 1].
    """
    grey = picture.new_zeros(*picture.shape[:2], num_frames - 1, *picture.shape[3:])
    latents = encode(vae, torch.cat([picture, grey], dim=2))
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, 0] = 1
    return torch.cat([mask, latents], dim=1)


def _statistics(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    shape = 1, vae.config.z_dim, 1, 1, 1
    values = vae.config.latents_mean, vae.config.latents_std
    mean, deviation = (torch.tensor(value, dtype=torch.float32, device=vae.device).view(shape) for value in values)
    return mean, deviation
