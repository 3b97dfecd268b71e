"""Wan2.1-I2V's diffusion transformer with InfiniteTalk's attention to voices. Its block is in `block`.

Names: T latent frames, S = h * w tokens of one latent frame, L = T * S, P people. The batch size is one.
"""

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from torch import nn
from torch.distributed import ProcessGroup
from torch.nn import functional as F

from infinitetalk.model.audio_attention import AudioAttention, AudioProjection
from infinitetalk.model.block import InfiniteTalkTransformerBlock
from infinitetalk.model.rope import RotaryTables
from infinitetalk.model.sequence_parallel import TokenShard


def time_sinusoid(timestep: torch.Tensor, width: int) -> torch.Tensor:
    """n -> n, width: cosines, then sines. Computed in float64: angles near 1000 lose digits in float32."""
    half = width // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=timestep.device, dtype=torch.float64) / half)
    angles = timestep.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32, whatever the dtype of its weights."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _linear_in_float32(self, input)


class InfiniteTalkTransformer3DModel(ModelMixin, ConfigMixin, AttentionMixin):
    """Predicts the flow's velocity (noise minus data) of a chunk of latent video."""

    _no_split_modules = ["InfiniteTalkTransformerBlock"]
    _repeated_blocks = ["InfiniteTalkTransformerBlock"]
    _skip_layerwise_casting_patterns = ["patch_embedding", "condition_embedder", "audio_proj", "norm"]
    token_group: ProcessGroup | None = None  # the processes that share the tokens; None: this one alone

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 36,  # 16 noise + 4 mask + 16 condition
        out_channels: int = 16,
        text_dim: int = 4096,
        text_len: int = 512,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        eps: float = 1e-6,
        image_dim: int = 1280,
        audio_window: int = 5,
        audio_blocks: int = 12,  # layers of the speech encoder
        audio_channels: int = 768,  # and their width
        audio_hidden_dim: int = 512,
        audio_dim: int = 768,
        audio_tokens: int = 32,  # for each person and latent frame
        vae_scale: int = 4,  # video frames to a latent frame
    ) -> None:
        super().__init__()
        dim = num_attention_heads * attention_head_dim
        self.rope = RotaryTables(attention_head_dim, patch_size)
        self.patch_embedding = nn.Conv3d(in_channels, dim, kernel_size=patch_size, stride=patch_size)
        self.condition_embedder = WanTimeTextImageEmbedding(
            dim=dim, time_freq_dim=freq_dim, time_proj_dim=6 * dim, text_embed_dim=text_dim, image_embed_dim=image_dim
        )
        self.audio_proj = AudioProjection(
            first_rows=audio_window,
            latter_rows=audio_window + vae_scale - 1,
            blocks=audio_blocks,
            channels=audio_channels,
            hidden_dim=audio_hidden_dim,
            output_dim=audio_dim,
            tokens=audio_tokens,
        )
        self.blocks = nn.ModuleList(
            InfiniteTalkTransformerBlock(
                dim=dim, ffn_dim=ffn_dim, heads=num_attention_heads, eps=eps, audio_dim=audio_dim
            )
            for _ in range(num_layers)
        )
        self.norm_out = FP32LayerNorm(dim, eps, elementwise_affine=False)
        self.proj_out = Float32Linear(dim, out_channels * math.prod(patch_size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_image: torch.Tensor,
        audio_first: torch.Tensor,
        audio_latter: torch.Tensor,
        speaker_masks: torch.Tensor | None = None,
        block_cache: Any = None,
    ) -> torch.Tensor:
        """
        hidden_states: 1, in_channels, T, H, W: noisy latent, then mask and reference latent (H, W even)
        timestep: 1, on the scale 0..1000
        encoder_hidden_states: 1, n <= text_len, text_dim: text features without padding
        encoder_hidden_states_image: 1, image tokens, image_dim
        audio_first, audio_latter: P, 1, rows, blocks, channels and P, T - 1, rows, blocks, channels
        speaker_masks: 3, H, W (left, right, background) when P = 2
        block_cache: a TeaCache of `infinitetalk.sampling.teacache`, which may skip the blocks

        Returns 1, out_channels, T, H, W in float32.
        """
        _, _, frames, height, width = hidden_states.shape
        dtype = self.dtype  # Asked once: each answer walks through all modules.
        patches = self.patch_embedding(hidden_states.to(dtype))
        grid = patches.shape[2:]  # T, h, w
        shard = TokenShard.of(self.token_group, grid[0], grid[1] * grid[2]) if self.token_group else None
        rotary_emb = self.rope(hidden_states)
        hidden_states = patches.flatten(2).transpose(1, 2)  # 1, L, dim
        if shard is not None:
            hidden_states = hidden_states[:, shard.own]
            rotary_emb = rotary_emb[0][:, shard.own], rotary_emb[1][:, shard.own]
        hidden_states = hidden_states.contiguous()

        temb, modulation = self._embed_time(timestep)
        context = self._embed_context(encoder_hidden_states.to(dtype), encoder_hidden_states_image.to(dtype))
        audio_states = self._embed_audio(audio_first.to(dtype), audio_latter.to(dtype))
        token_masks = None if speaker_masks is None else self._token_masks(speaker_masks, grid[1], grid[2])

        if block_cache is None or not block_cache.reuse(modulation):
            before = hidden_states
            for block in self.blocks:
                hidden_states = block(hidden_states, context, audio_states, modulation, rotary_emb, token_masks, shard)
            if block_cache is not None:
                block_cache.store(hidden_states - before)
        else:
            hidden_states = hidden_states + block_cache.residual

        shift, scale = (self.scale_shift_table.float() + temb.unsqueeze(1)).chunk(2, dim=1)
        hidden_states = self.norm_out(hidden_states.float()).to(dtype).float() * (1 + scale) + shift
        out = self.proj_out(hidden_states)  # 1, L, 1 * 2 * 2 * out_channels
        if shard is not None:
            out = shard.gather(out, grid.numel())
        out = out.unflatten(1, grid).unflatten(-1, (*self.config.patch_size, -1))
        out = out.permute(0, 7, 1, 4, 2, 5, 3, 6)  # 1, out_channels, T, 1, h, 2, w, 2
        return out.reshape(1, -1, frames, height, width)

    def set_attention_backend(self, backend: str) -> None:
        """A name of diffusers' dispatcher: native, flash, _flash_3, _native_cudnn, sage, ... for all attention."""
        super().set_attention_backend(backend)
        for module in self.modules():
            if isinstance(module, AudioAttention):
                module.backend = AttentionBackendName(backend)

    def _embed_time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """timestep: 1. Returns 1, dim and 1, 6, dim, in float32 whatever the dtype of the weights."""
        embedder = self.condition_embedder
        time = embedder.time_embedder
        sinusoid = time_sinusoid(timestep, self.config.freq_dim)
        temb = _linear_in_float32(time.linear_2, F.silu(_linear_in_float32(time.linear_1, sinusoid)))
        modulation = _linear_in_float32(embedder.time_proj, F.silu(temb))
        return temb, modulation.unflatten(1, (6, -1))

    def _embed_context(self, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Returns image tokens, then text_len text tokens with padding, which the model was trained to attend to."""
        text = F.pad(text, (0, 0, 0, self.config.text_len - text.shape[1]))
        embedder = self.condition_embedder
        return torch.cat([embedder.image_embedder(image), embedder.text_embedder(text)], dim=1)

    def _embed_audio(self, first: torch.Tensor, latter: torch.Tensor) -> torch.Tensor:
        """Returns T, P * tokens, audio_dim: in each latent frame the first person's tokens, then the second's."""
        return self.audio_proj(first, latter).transpose(0, 1).flatten(1, 2)

    def _token_masks(self, masks: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """masks: 3, H, W. Returns 3, S, whether the token belongs to the class."""
        return (F.interpolate(masks[None].float(), size=(height, width), mode="nearest")[0] > 0).flatten(1)


def _linear_in_float32(linear: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    return F.linear(states, linear.weight.float(), linear.bias.float())
