"""`python -m infinitetalk tiny DIR`: random weights in files laid out like the published ones, small enough for a CPU.

They show that every path works. The videos are noise.
"""

import argparse
import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.convert import rename_clip, rename_umt5, rename_vae, transformer_key
from infinitetalk.model.configs import (
    TINY_IMAGE,
    TINY_SHARED,
    TINY_SPEECH,
    TINY_TEXT,
    TINY_TRANSFORMER,
    TINY_VAE,
    clip_config,
    transformer_config,
    umt5_config,
    vae_config,
)
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

SHARDS = 3
ADAPTER = ("audio_proj.", "norm_x.", "audio_cross_attn.")  # parts of InfiniteTalk's own file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the folder to write to; it is created if needed")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> int:
    write_tiny_checkpoint(options.folder, seed=options.seed)
    print(f"A tiny random checkpoint: {options.folder}")
    return 0


def write_tiny_checkpoint(folder: Path, *, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    base = folder / hub.BASE
    base.mkdir(parents=True, exist_ok=True)
    (base / "config.json").write_text(json.dumps(TINY_TRANSFORMER, indent=1))
    _write_transformer(folder, generator)
    _write_text_encoder(base, generator)
    _write_image_encoder(base, generator)
    _write_vae(base, generator)
    _write_speech_encoder(folder / hub.SPEECH, generator)
    _write_loras(folder / hub.LORAS, generator)


def _write_transformer(folder: Path, generator: torch.Generator) -> None:
    config = transformer_config(
        {
            **TINY_TRANSFORMER,
            **TINY_SHARED,
            "intermediate_dim": 24,
            "output_dim": 24,
            "context_tokens": 4,
        }
    )
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**config)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    names = {original: shapes[ours] for original in _transformer_names() if (ours := transformer_key(original))}
    adapter = {name for name in names if any(part in name for part in ADAPTER)}
    base = sorted(names.keys() - adapter)
    for number in range(SHARDS):
        shard = {name: _random(name, names[name], generator) for name in base[number::SHARDS]}
        path = folder / hub.BASE / f"diffusion_pytorch_model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        save_file(shard, path)
    for speakers in (1, 2):
        path = hub.infinitetalk_file(folder, speakers)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: _random(name, names[name], generator) for name in sorted(adapter)}, path)


def _transformer_names() -> Iterable[str]:
    both = ("weight", "bias")
    for module in ("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2"):
        yield from (f"{module}.{kind}" for kind in both)
    modules = ["time_projection.1", "head.head", *(f"img_emb.proj.{number}" for number in (0, 1, 3, 4))]
    modules += [f"audio_proj.{name}" for name in ("proj1", "proj1_vf", "proj2", "proj3", "norm")]
    yield from (f"{module}.{kind}" for module, kind in product(modules, both))
    yield "head.modulation"
    inner = [f"{attention}.{name}" for attention, name in product(("self_attn", "cross_attn"), "qkvo")]
    inner += ["cross_attn.k_img", "cross_attn.v_img", "norm3", "ffn.0", "ffn.2", "norm_x"]
    inner += [f"audio_cross_attn.{name}" for name in ("q_linear", "kv_linear", "proj")]
    norms = [f"{attention}.norm_{name}" for attention, name in product(("self_attn", "cross_attn"), "qk")]
    for block in range(TINY_TRANSFORMER["num_layers"]):
        yield f"blocks.{block}.modulation"
        yield from (f"blocks.{block}.{name}.{kind}" for name, kind in product(inner, both))
        yield from (f"blocks.{block}.{name}.weight" for name in (*norms, "cross_attn.norm_k_img"))


def _write_text_encoder(base: Path, generator: torch.Generator) -> None:
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**umt5_config(TINY_TEXT)))
    names = ["token_embedding.weight", "norm.weight"]
    inner = ["norm1", "norm2", *(f"attn.{name}" for name in "qkvo"), "pos_embedding.embedding", "ffn.gate.0"]
    inner += ["ffn.fc1", "ffn.fc2"]
    layers = range(TINY_TEXT["encoder_layers"])
    names += [f"blocks.{layer}.{name}.weight" for layer, name in product(layers, inner)]
    shapes = _original_shapes(names, model, lambda tensors: rename_umt5(tensors, "tiny"))
    torch.save({name: _random(name, shape, generator) for name, shape in shapes.items()}, base / hub.TEXT_ENCODER)

    spoken = ["a", "person", "is", "talking", "the", "of", "and", "to", "in"]
    words = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in spoken)]
    vocabulary = [(word, -float(index)) for index, word in enumerate([*words, *"abcdefghijklmnopqrstuvwxyz,.▁"])]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(base / hub.TOKENIZER)


def _write_image_encoder(base: Path, generator: torch.Generator) -> None:
    model = CLIPVisionModel(CLIPVisionConfig(**clip_config(TINY_IMAGE)))
    dim = TINY_IMAGE["dim"]
    shapes = {}
    for ours, tensor in model.state_dict().items():
        name = ours.replace("pre_layrnorm", "pre_norm").replace("post_layernorm", "post_norm")
        name = name.replace("embeddings.patch_embedding", "patch_embedding")
        name = name.replace("encoder.layers.", "transformer.").replace("layer_norm", "norm")
        name = name.replace("self_attn.out_proj", "attn.proj").replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")
        if "self_attn.q_proj" in name:
            name = name.replace("self_attn.q_proj", "attn.to_qkv")
            shapes[f"visual.{name}"] = torch.Size([3 * dim, *tensor.shape[1:]])
        elif "class_embedding" in name:
            shapes["visual.cls_embedding"] = torch.Size([1, 1, dim])
        elif "position_embedding" in name:
            shapes["visual.pos_embedding"] = torch.Size([1, *tensor.shape])
        elif "_proj" not in name:
            shapes[f"visual.{name}"] = tensor.shape
    tensors = {name: _random(name, shape, generator) for name, shape in shapes.items()}
    assert rename_clip(tensors, "tiny").keys() == model.state_dict().keys()
    tensors["visual.head"] = torch.randn(dim, 16, generator=generator)  # as in the published file, and not used
    tensors["textual.model.embeddings.word_embeddings.weight"] = torch.randn(8, 8, generator=generator)
    tensors["log_scale"] = torch.ones(1)
    torch.save(tensors, base / hub.IMAGE_ENCODER)


def _write_vae(base: Path, generator: torch.Generator) -> None:
    with torch.device("meta"):
        vae = AutoencoderKLWan(**vae_config(TINY_VAE))
    both = ("weight", "bias")
    names = [f"{module}.{kind}" for module, kind in product(("conv1", "conv2"), both)]
    leaves = [f"residual.{number}.gamma" for number in (0, 3)]
    leaves += [f"{module}.{kind}" for module, kind in product(("residual.2", "residual.6", "shortcut"), both)]
    leaves += [f"{module}.{kind}" for module, kind in product(("resample.1", "time_conv"), both)]
    for side, samples in (("encoder", "downsamples"), ("decoder", "upsamples")):
        names += [f"{side}.{module}.{kind}" for module, kind in product(("conv1", "head.2"), both)]
        names += [f"{side}.head.0.gamma", f"{side}.middle.1.norm.gamma"]
        names += [f"{side}.middle.1.{name}.{kind}" for name, kind in product(("to_qkv", "proj"), both)]
        names += [f"{side}.middle.{number}.{leaf}" for number, leaf in product((0, 2), leaves)]
        names += [f"{side}.{samples}.{number}.{leaf}" for number, leaf in product(range(16), leaves)]
    shapes = _original_shapes(names, vae, rename_vae)
    torch.save({name: _random(name, shape, generator) for name, shape in shapes.items()}, base / hub.VAE)


def _write_speech_encoder(folder: Path, generator: torch.Generator) -> None:
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY_SPEECH))
    model.load_state_dict({key: _random(key, tensor.shape, generator) for key, tensor in model.state_dict().items()})
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)


def _write_loras(folder: Path, generator: torch.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dim, ffn, rank = TINY_TRANSFORMER["dim"], TINY_TRANSFORMER["ffn_dim"], 2
    targets = {"self_attn.q": (dim, dim), "cross_attn.k_img": (dim, dim), "ffn.0": (ffn, dim), "ffn.2": (dim, ffn)}
    for preset, lora in hub.PRESET_LORAS.items():
        tensors = {}
        for block, (target, (rows, columns)) in product(range(TINY_TRANSFORMER["num_layers"]), targets.items()):
            name = f"diffusion_model.blocks.{block}.{target}"
            tensors[f"{name}.lora_down.weight"] = 0.1 * torch.randn(rank, columns, generator=generator)
            tensors[f"{name}.lora_up.weight"] = 0.1 * torch.randn(rows, rank, generator=generator)
            tensors[f"{name}.diff_b"] = 0.01 * torch.randn(rows, generator=generator)
            if preset == "fast":
                tensors[f"{name}.alpha"] = torch.tensor(1.0)
        for block in range(TINY_TRANSFORMER["num_layers"]):
            norm = f"diffusion_model.blocks.{block}.cross_attn.norm_k_img.diff"
            tensors[norm] = 0.01 * torch.randn(dim, generator=generator)
            tensors[f"diffusion_model.blocks.{block}.diff_m"] = 0.01 * torch.randn(1, 6, dim, generator=generator)
        save_file(tensors, folder / Path(lora.file).name)


def _original_shapes(names, model: nn.Module, rename) -> dict[str, torch.Size]:  # type: ignore[no-untyped-def]
    """Original name -> shape, for those of `names` that this model has. Raises RuntimeError if one is missing."""
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    original = {}
    for name in names:
        [ours] = rename({name: torch.empty(0)})
        if ours in shapes:
            original[name] = shapes[ours]
    covered = rename({name: torch.empty(0) for name in original}).keys()
    missing = shapes.keys() - covered - {"encoder.embed_tokens.weight"}
    if missing:
        raise RuntimeError(f"No original name for {sorted(missing)}")
    return original


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Normal values, scaled so that signals neither vanish nor grow; norms near one."""
    if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
        return 1 + 0.1 * torch.randn(shape, generator=generator)
    fan_in = max(1, shape.numel() // shape[0]) if len(shape) > 1 else 25
    return torch.randn(shape, generator=generator) / fan_in**0.5
