"""Checks of the transformer and its parts. Everything of a case comes from its file."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from infinitetalk.checkpoints.convert import rename_transformer
from infinitetalk.checkpoints.files import load_strictly
from infinitetalk.conditioning.audio_windows import split_windows
from infinitetalk.model.audio_attention import AudioAttention, AudioProjection
from infinitetalk.model.configs import transformer_config
from infinitetalk.model.rope import RotaryTables, rotate
from infinitetalk.model.speaker_rope import key_positions, query_positions, rotate_by_position, speaker_map
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel, time_sinusoid
from tests.infinitetalk.parity.golden import GoldenFile, assert_close


def load_dit(config: dict, weights: dict[str, torch.Tensor], source: str) -> InfiniteTalkTransformer3DModel:
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**transformer_config(config))
    load_strictly(model, rename_transformer(weights, source), source)
    return model.eval()


def run_dit(
    model: InfiniteTalkTransformer3DModel, given: dict[str, torch.Tensor], block_cache: Any = None
) -> torch.Tensor:
    first, latter = split_windows(given["audio"], model.config.vae_scale)
    return model(
        torch.cat([given["latent"][None], given["y"]], dim=1),
        given["t"],
        given["context"][None],
        given["clip_fea"],
        first,
        latter,
        given["ref_target_masks"] if given["audio"].shape[0] == 2 else None,
        block_cache,
    )


@torch.no_grad()
def check_dit(golden: GoldenFile) -> None:
    model = load_dit(golden.facts["config"], golden.weights, golden.name)
    captured = capture(model)
    for case, facts in golden.facts["cases"].items():
        captured.clear()
        out = run_dit(model, golden.under(f"{case}/in/"))
        assert_close(out, golden.tensors[f"{case}/out/velocity"], 1e-4, case)
        expected = golden.under(f"{case}/mid/")
        if facts["persons"] != 2:  # The reference makes the map for nothing.
            expected = {name: tensor for name, tensor in expected.items() if "x_ref_attn_map" not in name}
        assert expected.keys() <= captured.keys(), expected.keys() - captured.keys()
        for name, tensor in expected.items():
            assert_close(captured[name], tensor, 1e-4, f"{case} {name}")


def capture(model: InfiniteTalkTransformer3DModel) -> dict[str, torch.Tensor]:
    """Record inner values under the reference's names whenever the model runs."""
    captured: dict[str, torch.Tensor] = {}

    def keep(name: str, take: Callable, module, inputs, output) -> None:
        captured[name] = take(output)

    def hook(module: torch.nn.Module, name: str, take: Callable = lambda output: output) -> None:
        module.register_forward_hook(partial(keep, name, take))

    hook(model.patch_embedding, "patch_embedding")
    hook(model.condition_embedder.text_embedder, "text_embedding_first8", lambda output: output[:, :8])
    hook(model.condition_embedder.image_embedder, "img_emb_first8", lambda output: output[:, :8])
    hook(model.audio_proj, "audio_proj")
    hook(model.proj_out, "head")
    embed_time = model._embed_time

    def spied(timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        temb, modulation = embed_time(timestep)
        captured["time_embedding"], captured["time_projection"] = temb, modulation.flatten(1)
        return temb, modulation

    model._embed_time = spied
    for number, block in enumerate(model.blocks):
        hook(block, f"block{number}")
        hook(block.attn1, f"block{number}_self_attn", lambda output: output[0])
        hook(block.attn1, f"block{number}_x_ref_attn_map", lambda output: output[1])
        hook(block.attn2, f"block{number}_cross_attn")
        hook(block.audio_cross_attn, f"block{number}_audio_cross_attn")
    return captured


@torch.no_grad()
def check_dit_bf16(golden: GoldenFile) -> None:
    """The reference's own error in bfloat16 is the yardstick: ours must not be clearly worse."""
    exact = golden.beside("dit")
    model = load_dit(exact.facts["config"], exact.weights, exact.name).to(torch.bfloat16)
    for case, facts in golden.facts["cases"].items():
        expected = exact.tensors[f"{case}/out/velocity"]
        out = run_dit(model, exact.under(f"{case}/in/"))
        error = ((out - expected).norm() / expected.norm()).item()
        assert error <= 1.25 * facts["relative_l2_to_fp32"], f"{case}: relative L2 {error:.4f}"


@torch.no_grad()
def check_audio_proj(golden: GoldenFile) -> None:
    config = golden.facts["config"]
    projection = AudioProjection(
        first_rows=config["seq_len"],
        latter_rows=config["seq_len_vf"],
        blocks=config["blocks"],
        channels=config["channels"],
        hidden_dim=config["intermediate_dim"],
        output_dim=config["output_dim"],
        tokens=config["context_tokens"],
    )
    load_strictly(projection, golden.weights, golden.name)
    for number in range(len(golden.facts["cases"])):
        given = golden.under(f"case{number}/in/")
        out = projection(given["first"], given["latter"])
        assert_close(out, golden.tensors[f"case{number}/out/context_tokens"], 1e-5, f"case {number}")


@torch.no_grad()
def check_audio_cross_attn(golden: GoldenFile) -> None:
    config = golden.facts["config"]
    attention = AudioAttention(dim=config["dim"], heads=config["num_heads"], audio_dim=config["audio_dim"])
    load_strictly(attention, golden.weights, golden.name)
    for number, case in enumerate(golden.facts["cases"]):
        given, mid = golden.under(f"case{number}/in/"), golden.under(f"case{number}/mid/")
        audio, frames, queries = given["audio_tokens"][0], case["latent_frames"], None
        if case["persons"] == 2:
            queries = query_positions(given["x_ref_attn_map"])
            keys = key_positions(frames, config["tokens_per_person"], audio.device)
            assert_close(queries, mid["query_positions"], 1e-5, f"case {number} query positions")
            assert_close(keys.flatten(), mid["key_positions"], 1e-5, f"case {number} key positions")
        out = attention(given["x"], audio, queries)
        assert_close(out, golden.tensors[f"case{number}/out/y"], 1e-5, f"case {number}")


@torch.no_grad()
def check_speaker_map(golden: GoldenFile) -> None:
    for number in range(len(golden.facts["cases"])):
        given = golden.under(f"case{number}/in/")
        out = speaker_map(given["q"], given["k"], given["token_masks"])
        assert_close(out, golden.tensors[f"case{number}/out/x_ref_attn_map"], 1e-6, f"case {number}")


@torch.no_grad()
def check_rope_and_time(golden: GoldenFile) -> None:
    config = golden.facts["config"]
    for number, case in enumerate(golden.facts["cases"]):
        rope = RotaryTables(config["head_dim"], (1, 1, 1), config["theta"])
        rotary = rope(torch.empty(1, 1, *case["grid"]))
        out = rotate(golden.tensors[f"case{number}/in/x"], rotary)
        assert_close(out, golden.tensors[f"case{number}/out/y"], 1e-6, f"case {number}")
    given = golden.under("rope1d/in/")
    states = given["x"].transpose(1, 2)
    out = rotate_by_position(states, given["positions"].expand(states.shape[0], -1)).transpose(1, 2)
    assert_close(out, golden.tensors["rope1d/out/y"], 1e-6, "rope1d")
    for name, expected in golden.under("sin/out/").items():
        assert_close(time_sinusoid(golden.tensors["sin/in/t"], expected.shape[1]), expected, 1e-6, name)


TRANSFORMER: dict[str, Callable[[GoldenFile], None]] = {
    "dit": check_dit,
    "dit_bf16": check_dit_bf16,
    "audio_proj": check_audio_proj,
    "audio_cross_attn": check_audio_cross_attn,
    "x_ref_attn_map": check_speaker_map,
    "rope_and_time": check_rope_and_time,
}
