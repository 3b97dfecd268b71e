"""The pre-merged file: equal to loading and merging, in 8 bits within a stated error, and never half written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from infinitetalk.__main__ import main
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.load_transformer import LoraFile, load_transformer
from infinitetalk.checkpoints.merge import FORMAT, load_merged, merge
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_merging_equals_loading_with_the_lora(weights: Path, tmp_path: Path) -> None:
    loras = [LoraFile(hub.lora_file(weights, lora), 0.7) for lora in hub.PRESET_LORAS.values()]

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


def test_a_file_that_was_not_merged_is_refused(weights: Path) -> None:
    with pytest.raises(InvalidCheckpoint) as caught:
        load_merged(hub.infinitetalk_file(weights, 1))

    assert caught.value.code == "not_merged"


def test_the_manifest_states_the_error_of_every_tensor(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "fp8.safetensors"
    merge(weights, path, fp8=True)

    with safe_open(path, framework="pt") as file:
        manifest = json.loads(file.metadata()["manifest"])
    exact, stored = load_transformer(weights, speakers=1).state_dict(), load_file(path)
    in_eight_bits = {key for key, tensor in stored.items() if tensor.dtype == torch.float8_e4m3fn}
    assert manifest["fp8_relative_errors"].keys() == in_eight_bits
    assert manifest["dtype"] == "float8_e4m3fn"
    for key, stated in manifest["fp8_relative_errors"].items():
        wide = stored[key].float() * stored[f"{key}_scale"]
        error = (wide - exact[key].float()).norm() / exact[key].float().norm()
        assert error.item() == pytest.approx(stated, rel=1e-4)


def test_sources_in_sixteen_bits_merge_as_well(weights: Path, tmp_path: Path) -> None:
    """Their tensors are views of one mapped file, not copies."""
    for path in weights.rglob("*"):
        target = tmp_path / path.relative_to(weights)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif path.suffix == ".safetensors" and hub.SPEECH not in str(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            save_file({key: tensor.bfloat16() for key, tensor in load_file(path).items()}, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())

    merge(tmp_path, tmp_path / "merged.safetensors")

    assert same(load_merged(tmp_path / "merged.safetensors"), load_transformer(weights, speakers=1))


def test_the_command_folds_in_a_preset_and_says_what_it_did(weights: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "new" / "merged.safetensors"

    assert main(["merge", "--weights", str(weights), "--preset", "fast", "-o", str(output)]) == 0

    manifest = json.loads(capsys.readouterr().out)
    lora = LoraFile(hub.lora_file(weights, hub.PRESET_LORAS["fast"]), 1.0)
    assert manifest["loras"][0]["file"] == lora.path.name
    assert same(load_merged(output), load_transformer(weights, speakers=1, loras=[lora]))


def test_a_place_that_cannot_be_written_is_named(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InfiniteTalkError, match="cannot be written") as caught:
        merge(weights, tmp_path / "file" / "merged.safetensors")

    assert caught.value.code == "cannot_write"


def test_a_write_that_fails_leaves_nothing_behind(weights: Path, tmp_path: Path, monkeypatch) -> None:
    def full(tensors, path: Path, metadata) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("infinitetalk.checkpoints.merge.save_file", full)

    with pytest.raises(InfiniteTalkError, match="No space left"):
        merge(weights, tmp_path / "merged.safetensors")

    assert not list(tmp_path.iterdir())


class TestDamage:
    @pytest.fixture
    def merged(self, weights: Path, tmp_path: Path) -> Path:
        merge(weights, tmp_path / "merged.safetensors")
        return tmp_path / "merged.safetensors"

    def rewrite(self, path: Path, change) -> None:
        with safe_open(path, framework="pt") as file:
            manifest = json.loads(file.metadata()["manifest"])
        tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
        change(tensors, manifest)
        save_file(tensors, path, {"manifest": json.dumps(manifest)})

    @pytest.mark.parametrize(
        ("change", "code", "said"),
        [
            (lambda tensors, _: tensors.pop("proj_out.bias"), "wrong_keys", "missing: proj_out.bias"),
            (lambda tensors, _: tensors["proj_out.bias"].fill_(float("nan")), "nan_weights", "proj_out.bias"),
            (lambda _, manifest: manifest.pop("arguments"), "file_damaged", "manifest"),
            (lambda _, manifest: manifest.update(format=FORMAT + "0"), "not_merged", "was not written"),
            (
                lambda tensors, _: tensors.update({"x.weight": torch.ones(1, 1).to(torch.float8_e4m3fn)}),
                "file_damaged",
                "manifest does not fit",
            ),
        ],
    )
    def test_it_is_named(self, merged: Path, change, code: str, said: str) -> None:
        self.rewrite(merged, change)

        with pytest.raises(InvalidCheckpoint, match=said) as caught:
            load_merged(merged)

        assert caught.value.code == code

    def test_a_truncated_file_is_named(self, merged: Path) -> None:
        merged.write_bytes(merged.read_bytes()[:-9])

        with pytest.raises(InvalidCheckpoint, match=r"merged\.safetensors") as caught:
            load_merged(merged)

        assert caught.value.code == "file_damaged"
