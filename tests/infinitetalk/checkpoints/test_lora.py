"""LoRA files in every dialect, and every way in which one does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.convert import transformer_key
from infinitetalk.checkpoints.load_transformer import LoraFile, load_transformer
from infinitetalk.checkpoints.lora import merge_lora
from infinitetalk.checkpoints.merge import load_merged, merge
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint

RANK, KEY = 2, "blocks.0.attn1.to_q.weight"
Q = "diffusion_model.blocks.0.self_attn.q"


def tiny_weights() -> dict[str, torch.Tensor]:
    return {KEY: torch.zeros(4, 4), "blocks.0.scale_shift_table": torch.zeros(1, 6, 4)}


@pytest.mark.parametrize(
    ("target", "down", "up", "alpha"),
    [
        ("diffusion_model.blocks.0.self_attn.q", "lora_down", "lora_up", False),
        ("diffusion_model.blocks.0.self_attn.q", "lora_down", "lora_up", True),
        ("diffusion_model.blocks.0.self_attn.q", "lora_A", "lora_B", False),
        ("transformer.blocks.0.attn1.to_q", "lora_A", "lora_B", False),
        ("lora_unet_blocks_0_self_attn_q", "lora_down", "lora_up", True),
    ],
)
def test_each_dialect_changes_the_weight(target: str, down: str, up: str, alpha: bool) -> None:
    first, second = torch.randn(RANK, 4), torch.randn(4, RANK)
    lora = {f"{target}.{down}.weight": first, f"{target}.{up}.weight": second}
    if alpha:
        lora[f"{target}.alpha"] = torch.tensor(1.0)
    weights = tiny_weights()

    report = merge_lora(weights, lora, 0.5, "file")

    factor = 0.5 * (1 / RANK if alpha else 1)
    assert torch.allclose(weights[KEY], factor * second @ first)
    assert (report.changed, report.unused) == ([KEY], [])


def test_a_modulation_of_another_shape_is_reported_as_unused() -> None:
    weights = tiny_weights()
    name = "diffusion_model.blocks.0.diff_m"

    assert merge_lora(weights, {name: torch.ones(1, 2, 4)}, 1.0, "file").unused == [name]
    assert merge_lora(weights, {name: torch.ones(1, 6, 4)}, 2.0, "file").changed == ["blocks.0.scale_shift_table"]
    assert weights["blocks.0.scale_shift_table"].eq(2).all()


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["diffusion_model.blocks.7.self_attn.q.lora_down.weight"], "lora_target"),
        (["diffusion_model.blocks.0.self_attn.q.lora_down.weight"], "lora_incomplete"),
    ],
)
def test_what_does_not_fit_is_named(names: list[str], code: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"blocks\.") as caught:
        merge_lora(tiny_weights(), {name: torch.ones(2, 4) for name in names}, 1.0, "file")

    assert caught.value.code == code


def pair(name: str, rows: int = 4, columns: int = 4, rank: int = RANK) -> dict[str, torch.Tensor]:
    return {
        f"{name}.lora_down.weight": torch.randn(rank, columns),
        f"{name}.lora_up.weight": torch.randn(rows, rank),
    }


@pytest.mark.parametrize(
    ("lora", "code"),
    [
        (pair(Q, rank=3) | {f"{Q}.lora_up.weight": torch.ones(4, 2)}, "lora_shape"),
        (pair(Q, columns=8), "lora_shape"),
        ({f"{Q}.diff": torch.ones(2, 8)}, "lora_shape"),
        (pair(Q) | {f"{Q}.dora_scale": torch.ones(4)}, "lora_kind"),
        (pair(Q) | pair("lora_unet_blocks_0_self_attn_q"), "lora_duplicate"),
        (pair(Q) | pair("diffusion_model.text_model.q"), "lora_target"),
    ],
)
def test_what_cannot_be_merged_is_refused_and_nothing_is_changed(lora: dict, code: str) -> None:
    weights = tiny_weights() | {"blocks.0.attn1.to_k.weight": torch.zeros(4, 4)}
    lora = pair("diffusion_model.blocks.0.self_attn.k") | lora  # fits, and comes first
    before = dict(weights)

    with pytest.raises(InvalidCheckpoint) as caught:
        merge_lora(weights, lora, 1.0, "file")

    assert caught.value.code == code
    assert all(weights[key] is tensor for key, tensor in before.items())


def test_a_transposed_pair_of_the_right_size_is_refused() -> None:
    weights = {"blocks.0.ffn.net.0.proj.weight": torch.zeros(8, 4)}

    with pytest.raises(InvalidCheckpoint, match="net.0.proj.weight is \\(8, 4\\), not \\(4, 8\\)"):
        merge_lora(weights, pair("diffusion_model.blocks.0.ffn.0", rows=4, columns=8), 1.0, "file")


def test_a_convolution_takes_a_pair() -> None:
    weights = {"patch_embedding.weight": torch.zeros(4, 3, 1, 2, 2)}
    down, up = torch.randn(RANK, 3, 1, 2, 2), torch.randn(4, RANK, 1, 1, 1)
    name = "diffusion_model.patch_embedding"

    merge_lora(weights, {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, 2.0, "file")

    expected = 2 * torch.einsum("or,rcthw->octhw", up[..., 0, 0, 0], down)
    assert torch.allclose(weights["patch_embedding.weight"], expected, atol=1e-6)


def test_it_rounds_once() -> None:
    weights = {KEY: torch.full((4, 4), 1.0, dtype=torch.bfloat16)}
    # Each half alone is lost when 1 + half is rounded to bfloat16; together they are not.
    half = 2.0**-9
    lora = {
        f"{Q}.lora_down.weight": torch.full((1, 4), half),
        f"{Q}.lora_up.weight": torch.ones(4, 1),
        f"{Q}.diff": torch.full((4, 4), half * 1.5),
    }

    merge_lora(weights, lora, 1.0, "file")

    assert weights[KEY].dtype == torch.bfloat16
    assert weights[KEY].eq(torch.tensor(1 + 2.5 * half).bfloat16()).all()
    assert weights[KEY].ne(1).all()


def test_an_alpha_without_its_pair_and_names_of_other_things_are_reported() -> None:
    lora = {f"{Q}.alpha": torch.tensor(1.0), f"{Q}.diff": torch.ones(4, 4), "metadata": torch.ones(1)}

    report = merge_lora(tiny_weights(), lora, 1.0, "file")

    assert (report.changed, sorted(report.unused)) == ([KEY], [f"{Q}.alpha", "metadata"])


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_refused(scale: float) -> None:
    with pytest.raises(InfiniteTalkError) as caught:
        merge_lora(tiny_weights(), pair(Q), scale, "file")

    assert caught.value.code == "lora_scale"


def test_every_module_has_its_name_with_underscores(weights: Path) -> None:
    """In the original names and in ours: the flat names say nothing about where the dots were."""
    ours = dict(load_transformer(weights, speakers=1, dtype=torch.float32).state_dict())
    originals = set()
    for path in (weights / hub.BASE).glob("*.safetensors"):
        originals |= load_file(path).keys()
    originals |= load_file(hub.infinitetalk_file(weights, 1)).keys()
    checked = 0
    for original in originals:
        key = transformer_key(original)
        if not key or not key.endswith(".weight") or ours[key].ndim != 2:
            continue
        rows, columns = ours[key].shape
        for name in (original, key):
            flat = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            assert merge_lora(dict(ours), pair(flat, rows, columns), 1.0, "file").changed == [key]
            checked += 1
    assert checked > 60


def test_weights_in_eight_bits_take_no_lora(weights: Path, tmp_path: Path) -> None:
    merge(weights, tmp_path / "fp8.safetensors", fp8=True)
    lora = load_file(hub.lora_file(weights, hub.PRESET_LORAS["fast"]))

    with pytest.raises(InvalidCheckpoint) as caught:
        merge_lora(dict(load_merged(tmp_path / "fp8.safetensors").state_dict()), lora, 1.0, "file")

    assert caught.value.code == "lora_quantised"


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"something.else": torch.ones(1)}, "lora_unknown"),
        ({f"{Q}.diff_b": torch.full((48,), float("nan"))}, "nan_weights"),
    ],
)
def test_a_file_that_does_nothing_good_is_refused(weights: Path, tmp_path: Path, tensors: dict, code: str) -> None:
    save_file(tensors, tmp_path / "lora.safetensors")

    with pytest.raises(InvalidCheckpoint, match=r"lora\.safetensors") as caught:
        load_transformer(weights, speakers=1, loras=[LoraFile(tmp_path / "lora.safetensors", 1.0)])

    assert caught.value.code == code


def test_what_was_not_used_is_logged(weights: Path, tmp_path: Path, caplog) -> None:
    save_file({f"{Q}.diff_b": torch.ones(48), "extra": torch.ones(1)}, tmp_path / "lora.safetensors")

    load_transformer(weights, speakers=1, loras=[LoraFile(tmp_path / "lora.safetensors", 1.0)])

    assert "lora.safetensors: 1 tensors are not used: extra" in caplog.text
