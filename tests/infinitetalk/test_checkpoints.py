"""The published layout, loaded strictly: round trips, LoRA dialects, 8 bits, and every kind of damage named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitetalk.checkpoints import layout
from infinitetalk.checkpoints.load import LoraFile, load_image_encoder, load_text_encoder, load_transformer, load_vae
from infinitetalk.checkpoints.lora import merge_lora
from infinitetalk.checkpoints.merge import load_merged, merge
from infinitetalk.errors import InvalidCheckpoint
from infinitetalk.transformer import InfiniteTalkTransformer3DModel


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(weights, tmp_path / "copy"))


def shard(folder: Path, number: int = 1) -> Path:
    return folder / layout.BASE / f"diffusion_pytorch_model-{number:05d}-of-00003.safetensors"


def rewrite(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, path)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_loaded_model_saves_and_loads_the_same(weights: Path, tmp_path: Path) -> None:
    model = load_transformer(weights, speakers=1, dtype=torch.float32)

    model.save_pretrained(tmp_path / "saved")

    assert same(InfiniteTalkTransformer3DModel.from_pretrained(tmp_path / "saved"), model)


def test_one_and_two_speakers_have_their_own_file(weights: Path) -> None:
    single = load_transformer(weights, speakers=1, dtype=torch.float32)
    multi = load_transformer(weights, speakers=2, dtype=torch.float32)

    differing = {key for key, tensor in single.state_dict().items() if not torch.equal(tensor, multi.state_dict()[key])}
    assert differing
    assert all(any(part in key for part in ("audio_proj", "norm_x", "audio_cross_attn")) for key in differing)


def test_merging_equals_loading_with_the_lora(weights: Path, tmp_path: Path) -> None:
    loras = [LoraFile(layout.lora_file(weights, lora), 0.7) for lora in layout.PRESET_LORAS.values()]

    manifest = merge(weights, tmp_path / "merged.safetensors", loras=loras)

    assert same(load_merged(tmp_path / "merged.safetensors"), load_transformer(weights, speakers=1, loras=loras))
    assert [entry["scale"] for entry in manifest["loras"]] == [0.7, 0.7]
    assert all(len(digest) == 64 for digest in manifest["sources"].values())


def test_eight_bits_cost_a_few_percent_and_say_so(weights: Path, tmp_path: Path) -> None:
    manifest = merge(weights, tmp_path / "fp8.safetensors", fp8=True)

    assert 0 < manifest["fp8_relative_error"]["mean"] <= manifest["fp8_relative_error"]["max"] < 0.04
    small, exact = load_merged(tmp_path / "fp8.safetensors"), load_transformer(weights, speakers=1)
    states = torch.randn(1, 5, 48, dtype=torch.bfloat16)
    with torch.no_grad():
        ours, expected = small.blocks[0].ffn(states).float(), exact.blocks[0].ffn(states).float()
    assert (ours - expected).norm() / expected.norm() < 0.06
    assert small.blocks[0].attn1.to_q.weight.dtype == torch.float8_e4m3fn


def test_a_swapped_key_is_named_on_both_sides(copy: Path) -> None:
    name = "blocks.0.self_attn.q.bias"
    path = next(shard(copy, number) for number in (1, 2, 3) if name in load_file(shard(copy, number)))
    rewrite(path, lambda tensors: tensors.update({"blocks.0.self_attn.p.bias": tensors.pop(name)}))

    with pytest.raises(InvalidCheckpoint, match=r"blocks\.0\.self_attn\.p\.bias") as caught:
        load_transformer(copy, speakers=1)

    assert caught.value.code == "unexpected_keys"


def test_a_missing_key_is_named(copy: Path) -> None:
    rewrite(layout.infinitetalk_file(copy, 1), lambda tensors: tensors.pop("blocks.1.norm_x.bias"))

    with pytest.raises(InvalidCheckpoint, match=r"missing: blocks\.1\.norm_x\.bias"):
        load_transformer(copy, speakers=1)


def test_a_wrong_shape_is_named(copy: Path) -> None:
    rewrite(layout.infinitetalk_file(copy, 1), lambda tensors: tensors.update({"blocks.1.norm_x.bias": torch.ones(3)}))

    with pytest.raises(InvalidCheckpoint, match=r"blocks\.1\.norm_x\.bias is \(3,\) instead of \(48,\)"):
        load_transformer(copy, speakers=1)


def test_values_that_are_no_numbers_are_named(copy: Path) -> None:
    rewrite(
        layout.infinitetalk_file(copy, 1),
        lambda tensors: tensors.update({"blocks.1.norm_x.bias": torch.full((48,), float("nan"))}),
    )

    with pytest.raises(InvalidCheckpoint, match=r"blocks\.1\.norm_x\.bias") as caught:
        load_transformer(copy, speakers=1)

    assert caught.value.code == "nan_weights"


def test_a_truncated_file_is_named(copy: Path) -> None:
    shard(copy, 2).write_bytes(shard(copy, 2).read_bytes()[:-100])

    with pytest.raises(InvalidCheckpoint, match=shard(copy, 2).name) as caught:
        load_transformer(copy, speakers=1)

    assert caught.value.code == "file_damaged"


def test_a_missing_shard_is_numbered(copy: Path) -> None:
    shard(copy, 3).unlink()

    with pytest.raises(InvalidCheckpoint, match="lacks shards 3 of 3"):
        load_transformer(copy, speakers=1)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        (layout.TEXT_ENCODER, load_text_encoder),
        (layout.IMAGE_ENCODER, load_image_encoder),
        (layout.VAE, load_vae),
    ],
)
def test_a_damaged_encoder_is_named(copy: Path, name: str, load) -> None:
    path = copy / layout.BASE / name
    path.write_bytes(path.read_bytes()[:2000])

    with pytest.raises(InvalidCheckpoint, match=name.split(".")[0]) as caught:
        load(copy)

    assert caught.value.code == "file_damaged"


def test_a_file_that_was_not_merged_is_refused(weights: Path) -> None:
    with pytest.raises(InvalidCheckpoint) as caught:
        load_merged(layout.infinitetalk_file(weights, 1))

    assert caught.value.code == "not_merged"


class TestLora:
    rank, key = 2, "blocks.0.attn1.to_q.weight"

    def weights(self) -> dict[str, torch.Tensor]:
        return {self.key: torch.zeros(4, 4), "blocks.0.scale_shift_table": torch.zeros(1, 6, 4)}

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
    def test_each_dialect_changes_the_weight(self, target: str, down: str, up: str, alpha: bool) -> None:
        first, second = torch.randn(self.rank, 4), torch.randn(4, self.rank)
        lora = {f"{target}.{down}.weight": first, f"{target}.{up}.weight": second}
        if alpha:
            lora[f"{target}.alpha"] = torch.tensor(1.0)
        weights = self.weights()

        report = merge_lora(weights, lora, 0.5, "file")

        factor = 0.5 * (1 / self.rank if alpha else 1)
        assert torch.allclose(weights[self.key], factor * second @ first)
        assert (report.changed, report.unused) == ([self.key], [])

    def test_a_modulation_of_another_shape_is_reported_as_unused(self) -> None:
        weights = self.weights()
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
    def test_what_does_not_fit_is_named(self, names: list[str], code: str) -> None:
        with pytest.raises(InvalidCheckpoint, match=r"blocks\.") as caught:
            merge_lora(self.weights(), {name: torch.ones(2, 4) for name in names}, 1.0, "file")

        assert caught.value.code == code


def test_a_json_that_is_none_is_named(copy: Path) -> None:
    (copy / layout.BASE / "config.json").write_text("{")
    assert json.loads((copy / layout.SIZES).read_text())

    with pytest.raises(InvalidCheckpoint, match=r"config\.json is no JSON"):
        load_transformer(copy, speakers=1)
