"""Checks of key names, LoRA files and quantised weights."""

from collections.abc import Callable

import torch
from safetensors.torch import load_file

from infinitetalk.checkpoints.convert import rename_transformer, transformer_key
from infinitetalk.checkpoints.lora import merge_lora
from infinitetalk.checkpoints.quanto import dequantise
from infinitetalk.model.configs import transformer_config
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from tests.infinitetalk.parity.golden import GoldenFile, assert_close


def check_keymap(golden: GoldenFile) -> None:
    expected = golden.facts["map"]
    assert {key: transformer_key(key) for key in expected} == expected
    layers = golden.facts["num_layers"]
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**transformer_config({"num_layers": layers, "dim": 64, "num_heads": 4}))
    assert model.state_dict().keys() == set(expected.values())


def check_shapes_14b(golden: GoldenFile) -> None:
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel()
    actual = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    expected = {}
    for key, shape in golden.facts["shapes"].items():
        for number in range(model.config.num_layers) if "blocks.N." in key else [0]:
            expected[transformer_key(key.replace("blocks.N.", f"blocks.{number}."))] = shape
    assert actual == expected


def check_lora(golden: GoldenFile) -> None:
    weights = rename_transformer(golden.weights, golden.name)
    before = dict(weights)
    for name, scale in zip(golden.facts["files"], golden.facts["scales"], strict=False):
        merge_lora(weights, load_file(golden.path.with_name(name)), scale, name, reference_compatible=True)
    after = rename_transformer(golden.under("after/"), golden.name)
    for key, tensor in weights.items():
        assert_close(tensor, after.get(key, before[key]), 1e-6, key)
    assert {transformer_key(key) for key in golden.facts["changed"]} == after.keys()


def check_quantised(golden: GoldenFile) -> None:
    """The file with the values beside the quantised one of the same name."""
    quantised = golden.beside(golden.name.removesuffix("_dequantised"))
    weights = dequantise(quantised.tensors, quantised.facts, quantised.name)
    for key, expected in golden.under("deq/").items():
        assert torch.equal(weights[key].float(), expected), key
    with torch.device("meta"):
        model = InfiniteTalkTransformer3DModel(**transformer_config(golden.facts["config"]))
    assert rename_transformer(weights, quantised.name).keys() == model.state_dict().keys()


def check_quantisation_map(golden: GoldenFile) -> None:
    weights = dequantise(golden.tensors, golden.facts, golden.name)
    assert all(f"{module}.weight" in weights for module in golden.facts)


WEIGHTS: dict[str, Callable[[GoldenFile], None]] = {
    "keymap": check_keymap,
    "shapes_14b": check_shapes_14b,
    "lora": check_lora,
    "quant_int8": check_quantisation_map,
    "quant_fp8": check_quantisation_map,
    "quant_int8_dequantised": check_quantised,
    "quant_fp8_dequantised": check_quantised,
}
