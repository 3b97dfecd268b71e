"""CLIP's features of the image that a chunk starts from."""

import torch
from torch.nn import functional as F
from transformers import CLIPVisionModel

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(image: torch.Tensor, image_size: int) -> torch.Tensor:
    """1, 3, 1, H, W in [-1, 1] -> 1, 3, image_size, image_size, normalised as CLIP was trained.

    The whole image is squeezed to a square, not cropped, and without antialiasing.
    """
    pixels = F.interpolate(image[:, :, 0].float(), size=(image_size, image_size), mode="bicubic", align_corners=False)
    mean, deviation = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (pixels * 0.5 + 0.5 - mean) / deviation


def encode_image(encoder: CLIPVisionModel, image: torch.Tensor) -> torch.Tensor:
    """image: 1, 3, 1, H, W in [-1, 1]. Returns 1, tokens, dim: the states before the last layer, not normed."""
    pixels = clip_pixels(image, encoder.config.image_size).to(encoder.device, encoder.dtype)
    output = encoder(pixels, output_hidden_states=True)
    features: torch.Tensor = output.hidden_states[-2]
    return features
