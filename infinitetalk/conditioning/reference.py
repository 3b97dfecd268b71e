"""The image that a chunk starts from, in every form that the transformer is given; encoded once for each image."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan
from transformers import CLIPVisionModel

from infinitetalk.buckets import Size
from infinitetalk.conditioning import vae as latent_space
from infinitetalk.conditioning.image import ImageArray, resize_and_crop
from infinitetalk.conditioning.image_encoder import encode_image

KEPT_REFERENCES = 4  # for the next call with the same image


@dataclass(frozen=True)
class Reference:
    """T latent frames of h x w."""

    image_embeds: torch.Tensor  # 1, image tokens, image_dim
    latents: torch.Tensor  # 1, 20, T, h, w: mask and latents of the image followed by gray frames
    still: torch.Tensor  # 1, 16, 1, h, w: latents of the image alone


class ReferenceEncoder:
    """Encodes an image for chunks of one length, and keeps the last few results."""

    def __init__(self, vae: AutoencoderKLWan, image_encoder: CLIPVisionModel) -> None:
        self._vae = vae
        self._image_encoder = image_encoder
        self._kept: OrderedDict[tuple[str, int], Reference] = OrderedDict()

    def __call__(self, frame: ImageArray, size: Size, num_frames: int) -> Reference:
        """size: height and width in pixels; num_frames: of the chunk, 4n + 1. Raises InvalidInput `image_invalid`."""
        key = hashlib.sha256(frame.tobytes() + repr((frame.shape, size)).encode()).hexdigest(), num_frames
        if key not in self._kept:
            image = resize_and_crop(frame, size)
            self._kept[key] = Reference(
                encode_image(self._image_encoder, image),
                latent_space.reference_latents(self._vae, image, num_frames),
                latent_space.encode(self._vae, image),
            )
            while len(self._kept) > KEPT_REFERENCES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
