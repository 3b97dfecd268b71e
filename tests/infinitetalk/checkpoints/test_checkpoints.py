"""The published layout, loaded strictly: round trips, LoRA dialects, 8 bits, and every kind of damage named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.load_encoders import load_image_encoder, load_speech_encoder, load_text_encoder, load_vae
from infinitetalk.checkpoints.load_transformer import LoraFile, load_quantised_transformer, load_transformer
from infinitetalk.errors import InvalidCheckpoint
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(weights, tmp_path / "copy"))


def shard(folder: Path, number: int = 1) -> Path:
    return folder / hub.BASE / f"diffusion_pytorch_model-{number:05d}-of-00003.safetensors"


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


def test_what_both_files_hold_is_taken_from_infinitetalk(copy: Path) -> None:
    rewrite(
        hub.infinitetalk_file(copy, 1),
        lambda tensors: tensors.update({"blocks.0.self_attn.q.bias": torch.full((48,), 0.25)}),
    )

    assert load_transformer(copy, speakers=1).blocks[0].attn1.to_q.bias.eq(0.25).all()


def test_a_swapped_key_is_named_on_both_sides(copy: Path) -> None:
    name = "blocks.0.self_attn.q.bias"
    path = next(shard(copy, number) for number in (1, 2, 3) if name in load_file(shard(copy, number)))
    rewrite(path, lambda tensors: tensors.update({"blocks.0.self_attn.p.bias": tensors.pop(name)}))

    with pytest.raises(InvalidCheckpoint, match=r"blocks\.0\.self_attn\.p\.bias") as caught:
        load_transformer(copy, speakers=1)

    assert caught.value.code == "unexpected_keys"


def test_a_missing_key_is_named(copy: Path) -> None:
    rewrite(hub.infinitetalk_file(copy, 1), lambda tensors: tensors.pop("blocks.1.norm_x.bias"))

    with pytest.raises(InvalidCheckpoint, match=r"missing: blocks\.1\.norm_x\.bias"):
        load_transformer(copy, speakers=1)


def test_a_wrong_shape_is_named(copy: Path) -> None:
    rewrite(hub.infinitetalk_file(copy, 1), lambda tensors: tensors.update({"blocks.1.norm_x.bias": torch.ones(3)}))

    with pytest.raises(InvalidCheckpoint, match=r"blocks\.1\.norm_x\.bias is \(3,\) instead of \(48,\)"):
        load_transformer(copy, speakers=1)


def test_values_that_are_no_numbers_are_named(copy: Path) -> None:
    rewrite(
        hub.infinitetalk_file(copy, 1),
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
        (hub.TEXT_ENCODER, load_text_encoder),
        (hub.IMAGE_ENCODER, load_image_encoder),
        (hub.VAE, load_vae),
    ],
)
def test_a_damaged_encoder_is_named(copy: Path, name: str, load) -> None:
    path = copy / hub.BASE / name
    path.write_bytes(path.read_bytes()[:2000])

    with pytest.raises(InvalidCheckpoint, match=name.split(".")[0]) as caught:
        load(copy)

    assert caught.value.code == "file_damaged"


def test_a_json_that_is_none_is_named(copy: Path) -> None:
    (copy / hub.BASE / "config.json").write_text("{")

    with pytest.raises(InvalidCheckpoint, match=r"config\.json is not JSON"):
        load_transformer(copy, speakers=1)


def test_a_json_that_is_no_object_is_named(copy: Path) -> None:
    (copy / hub.BASE / "config.json").write_text("[]")

    with pytest.raises(InvalidCheckpoint, match=r"config\.json holds no JSON object"):
        load_transformer(copy, speakers=1)


def test_shards_of_two_sets_are_not_mixed(copy: Path) -> None:
    shutil.copy(shard(copy), shard(copy).with_name("diffusion_pytorch_model-00001-of-00007.safetensors"))

    with pytest.raises(InvalidCheckpoint) as caught:
        load_transformer(copy, speakers=1)

    assert caught.value.code == "shards_mixed"


class TestIndex:
    @pytest.fixture
    def index(self, copy: Path) -> Path:
        weight_map = {}
        for number in (1, 2, 3):
            renamed = shard(copy, number).rename(copy / hub.BASE / f"part-{number}.safetensors")
            weight_map |= dict.fromkeys(load_file(renamed), renamed.name)
        path = copy / hub.BASE / "diffusion_pytorch_model.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return path

    def test_shards_of_any_name_are_found_by_it(self, copy: Path, weights: Path, index: Path) -> None:
        assert same(load_transformer(copy, speakers=1), load_transformer(weights, speakers=1))

    def test_a_missing_shard_is_named(self, copy: Path, index: Path) -> None:
        (index.parent / "part-2.safetensors").unlink()

        with pytest.raises(InvalidCheckpoint, match=r"lacks part-2\.safetensors"):
            load_transformer(copy, speakers=1)

    def test_it_does_not_lead_out_of_its_folder(self, copy: Path, index: Path) -> None:
        index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))

        with pytest.raises(InvalidCheckpoint, match="outside"):
            load_transformer(copy, speakers=1)


def test_a_file_from_before_zip_archives_loads(copy: Path, weights: Path) -> None:
    path = copy / hub.BASE / hub.VAE
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)

    assert same(load_vae(copy), load_vae(weights))


def test_a_file_that_could_run_something_is_refused(copy: Path) -> None:
    torch.save({"weight": Path("x")}, copy / hub.BASE / hub.VAE)

    with pytest.raises(InvalidCheckpoint) as caught:
        load_vae(copy)

    assert caught.value.code == "file_damaged"


@pytest.mark.parametrize(("damage", "said"), [("remove", "tokenizer_config"), ("damage", "no tokenizer")])
def test_a_missing_or_damaged_tokenizer_is_named(copy: Path, damage: str, said: str) -> None:
    folder = copy / hub.BASE / hub.TOKENIZER
    if damage == "remove":
        shutil.rmtree(folder)
    else:
        (folder / "tokenizer.json").write_text("{")

    with pytest.raises(InvalidCheckpoint, match=said):
        load_text_encoder(copy)


class TestSpeechEncoder:
    key = "encoder.layers.0.attention.q_proj.weight"

    def file(self, folder: Path) -> Path:
        return folder / hub.SPEECH / "model.safetensors"

    def test_what_its_training_left_behind_does_not_matter(self, copy: Path, weights: Path) -> None:
        def as_trained(tensors: dict[str, torch.Tensor]) -> None:
            for key in list(tensors):
                tensors[f"wav2vec2.{key}"] = tensors.pop(key)
            tensors["quantizer.codevectors"] = torch.ones(2, 2)

        rewrite(self.file(copy), as_trained)

        assert same(load_speech_encoder(copy).model, load_speech_encoder(weights).model)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda tensors: tensors.pop(TestSpeechEncoder.key), "wrong_keys"),
            (lambda tensors: tensors[TestSpeechEncoder.key].fill_(float("nan")), "nan_weights"),
            (lambda tensors: tensors.update({TestSpeechEncoder.key: torch.ones(3, 3)}), "file_damaged"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_never_filled_up(self, copy: Path, change, code: str) -> None:
        rewrite(self.file(copy), change)

        with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors") as caught:
            load_speech_encoder(copy)

        assert caught.value.code == code

    def test_a_truncated_file_is_named(self, copy: Path) -> None:
        self.file(copy).write_bytes(self.file(copy).read_bytes()[:-50])

        with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors") as caught:
            load_speech_encoder(copy)

        assert caught.value.code == "file_damaged"

    def test_a_config_without_sizes_is_named(self, copy: Path) -> None:
        (copy / hub.SPEECH / "config.json").write_text("{}")

        with pytest.raises(InvalidCheckpoint, match="lacks hidden_size, num_hidden_layers"):
            load_transformer(copy, speakers=1)


class TestQuantised:
    @pytest.fixture(params=[("qint8", torch.int8, 127), ("qfloat8_e4m3fn", torch.float8_e4m3fn, 448)])
    def quantised(self, request, weights: Path, tmp_path: Path) -> Path:
        """The tiny transformer as optimum-quanto stores one."""
        name, dtype, largest = request.param
        tensors: dict[str, torch.Tensor] = {}
        for number in (1, 2, 3):
            tensors |= load_file(shard(weights, number))
        tensors |= load_file(hub.infinitetalk_file(weights, 1))
        stored, modules = {}, {}
        for key, tensor in tensors.items():
            module, _, kind = key.rpartition(".")
            if kind != "weight" or tensor.ndim != 2:
                stored[key] = tensor.bfloat16()
                continue
            scale = (tensor.abs().amax(1, keepdim=True) / largest).bfloat16()
            data = (tensor / scale.float()).clamp(-largest, largest)
            stored[f"{key}._data"] = (data.round() if dtype == torch.int8 else data).to(dtype)
            stored[f"{key}._scale"] = scale
            stored[f"{module}.input_scale"] = stored[f"{module}.output_scale"] = torch.ones(())
            modules[module] = {"weights": name, "activations": "none"}
        path = tmp_path / "quantised.safetensors"
        save_file({key: tensor.clone() for key, tensor in stored.items()}, path)
        path.with_suffix(".json").write_text(json.dumps(modules))
        return path

    def test_it_loads_to_nearly_the_same_weights(self, weights: Path, quantised: Path) -> None:
        exact = load_transformer(weights, speakers=1).state_dict()
        errors = []
        for key, tensor in load_quantised_transformer(weights, quantised).state_dict().items():
            assert tensor.dtype == torch.bfloat16
            errors.append(((tensor.float() - exact[key].float()).norm() / exact[key].float().norm()).item())

        assert 0 < np.max(errors) < 0.05

    def test_it_takes_no_lora(self, weights: Path, quantised: Path) -> None:
        lora = LoraFile(hub.lora_file(weights, hub.PRESET_LORAS["fast"]), 1.0)

        with pytest.raises(InvalidCheckpoint, match="LoRA") as caught:
            load_quantised_transformer(weights, quantised, loras=[lora])

        assert caught.value.code == "lora_quantised"

    def test_a_missing_map_is_named(self, weights: Path, quantised: Path) -> None:
        quantised.with_suffix(".json").unlink()

        with pytest.raises(InvalidCheckpoint, match=r"quantised\.json"):
            load_quantised_transformer(weights, quantised)

    @pytest.mark.parametrize(
        ("entry", "code"),
        [({"weights": "qint4"}, "quantised_kind"), ("qint8", "quantised_kind"), (None, "unexpected_keys")],
    )
    def test_a_map_that_does_not_fit_is_refused(self, weights: Path, quantised: Path, entry, code: str) -> None:
        modules = json.loads(quantised.with_suffix(".json").read_text())
        if entry is None:
            modules.pop("blocks.0.ffn.0")
        else:
            modules["blocks.0.ffn.0"] = entry
        quantised.with_suffix(".json").write_text(json.dumps(modules))

        with pytest.raises(InvalidCheckpoint, match=r"blocks\.0\.ffn\.0") as caught:
            load_quantised_transformer(weights, quantised)

        assert caught.value.code == code
