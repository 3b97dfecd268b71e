"""The encoders and the autoencoder from the published files: all networks except the transformer."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from infinitetalk.acceleration.compile import put_channels_last
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.convert import rename_clip, rename_umt5, rename_vae
from infinitetalk.checkpoints.files import load_strictly, read_pth, require_file, require_finite, tensor_shape
from infinitetalk.conditioning.audio_encoder import SpeechEncoder
from infinitetalk.conditioning.text_encoder import PromptEncoder
from infinitetalk.errors import InvalidCheckpoint
from infinitetalk.model.configs import clip_config, umt5_config, vae_config

CLIP_HEAD_WIDTH = 80  # of ViT-H; the number of heads cannot be read from the file


@dataclass(frozen=True)
class Encoders:
    """All networks except the transformer."""

    vae: AutoencoderKLWan
    image_encoder: CLIPVisionModel
    text_encoder: PromptEncoder
    speech_encoder: SpeechEncoder


def load_encoders(
    weights: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
    text_device: str | None = None,
    vae_dtype: torch.dtype = torch.float32,
) -> Encoders:
    """text_device: where the text encoder, the largest of them, lies; by default `device`. Raises InvalidCheckpoint."""
    text_encoder = load_text_encoder(weights, dtype)
    text_encoder.model.to(text_device or device)
    speech_encoder = load_speech_encoder(weights)
    speech_encoder.model.to(device)
    vae = load_vae(weights, vae_dtype).to(device)
    if device != "cpu":
        put_channels_last(vae)
    image_encoder = load_image_encoder(weights, torch.float32 if device == "cpu" else torch.float16).to(device)
    return Encoders(vae, image_encoder, text_encoder, speech_encoder)


def load_text_encoder(weights: Path, dtype: torch.dtype = torch.bfloat16) -> PromptEncoder:
    """Its sizes are read from the shapes in the file. Raises InvalidCheckpoint."""
    path = weights / hub.BASE / hub.TEXT_ENCODER
    tensors = read_pth(path)
    require_finite(tensors, str(path))
    vocabulary, dim = tensor_shape(tensors, "token_embedding.weight", path)
    buckets, heads = tensor_shape(tensors, "blocks.0.pos_embedding.embedding.weight", path)
    config = umt5_config(
        {
            "vocab_size": vocabulary,
            "dim": dim,
            "dim_attn": tensor_shape(tensors, "blocks.0.attn.q.weight", path)[0],
            "dim_ffn": tensor_shape(tensors, "blocks.0.ffn.fc1.weight", path)[0],
            "encoder_layers": _count_blocks(tensors, "blocks."),
            "num_heads": heads,
            "num_buckets": buckets,
        }
    )
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**config))
    renamed = {key: tensor.to(dtype) for key, tensor in rename_umt5(tensors, str(path)).items()}
    load_strictly(model, {**renamed, "encoder.embed_tokens.weight": renamed["shared.weight"]}, str(path))
    return PromptEncoder(model.eval(), _load_tokenizer(weights / hub.BASE / hub.TOKENIZER))


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    require_file(folder / "tokenizer_config.json")  # Without the folder, transformers would look for it on the hub.
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # The tokenizers library raises plain Exceptions.
        raise InvalidCheckpoint("file_damaged", f"{folder} holds no tokenizer: {error}") from error


def load_image_encoder(weights: Path, dtype: torch.dtype = torch.float16) -> CLIPVisionModel:
    """Its sizes are read from the shapes in the file. Raises InvalidCheckpoint."""
    path = weights / hub.BASE / hub.IMAGE_ENCODER
    tensors = read_pth(path)
    _, tokens, dim = tensor_shape(tensors, "visual.pos_embedding", path)
    patch = tensor_shape(tensors, "visual.patch_embedding.weight", path)[-1]
    config = clip_config(
        {
            "dim": dim,
            "patch_size": patch,
            "image_size": round((tokens - 1) ** 0.5) * patch,
            "mlp_ratio": tensor_shape(tensors, "visual.transformer.0.mlp.0.weight", path)[0] // dim,
            "num_heads": max(1, dim // CLIP_HEAD_WIDTH),
            "num_layers": _count_blocks(tensors, "visual.transformer."),
        }
    )
    renamed = rename_clip(tensors, str(path))
    require_finite(renamed, str(path))
    model = CLIPVisionModel(CLIPVisionConfig(**config))  # Not on meta: it computes the indices of the positions.
    load_strictly(model, {key: tensor.to(dtype) for key, tensor in renamed.items()}, str(path))
    return model.eval()


def load_vae(weights: Path, dtype: torch.dtype = torch.float32) -> AutoencoderKLWan:
    """Its sizes are read from the shapes in the file. Raises InvalidCheckpoint."""
    path = weights / hub.BASE / hub.VAE
    tensors = read_pth(path)
    require_finite(tensors, str(path))
    base_dim = tensor_shape(tensors, "encoder.conv1.weight", path)[0]
    with torch.device("meta"):
        vae = AutoencoderKLWan(**vae_config({"base_dim": base_dim}))
    load_strictly(vae, {key: tensor.to(dtype) for key, tensor in rename_vae(tensors).items()}, str(path))
    return vae.eval()


def load_speech_encoder(weights: Path) -> SpeechEncoder:
    """Raises InvalidCheckpoint when a tensor is missing. More tensors, such as those of its training, are ignored."""
    folder = weights / hub.SPEECH
    path = folder / "model.safetensors"
    for name in ("config.json", "preprocessor_config.json", path.name):
        require_file(folder / name)
    try:
        model, info = Wav2Vec2Model.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise InvalidCheckpoint("file_damaged", f"{path} or a file beside it is damaged: {error}") from error
    # transformers fills missing tensors with random values. `masked_spec_embed` is used in training only.
    missing = sorted(set(info["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise InvalidCheckpoint("wrong_keys", f"{path} does not fit: missing: {', '.join(missing[:10])}")
    require_finite(model.state_dict(), str(path))
    return SpeechEncoder(model.eval(), extractor)


def _count_blocks(tensors: dict[str, torch.Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).partition(".")[0] for key in tensors if key.startswith(prefix)})
