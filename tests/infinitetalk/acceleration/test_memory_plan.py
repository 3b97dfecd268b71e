"""Which plan a GPU gets, and what it takes."""

import pytest
import torch

from infinitetalk.acceleration import attention_backends
from infinitetalk.acceleration.attention_backends import choose_attention
from infinitetalk.acceleration.compile import compile_blocks, stream_blocks
from infinitetalk.acceleration.memory_plan import PLANS, choose_plan, peak_bytes, weight_bytes
from infinitetalk.bench.networks import RandomNetworks
from infinitetalk.bench.parity import random_inputs
from infinitetalk.errors import InvalidInput

GIGABYTE = 10**9
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("gigabytes", "plan"), [(141, "resident"), (85, "resident"), (48.3, "fp8"), (32, "fp8"), (24, "streamed")]
)
def test_a_gpu_gets_the_fastest_plan_that_fits(gigabytes: float, plan: str) -> None:
    assert choose_plan(int(gigabytes * GIGABYTE)).name == plan


def test_larger_frames_take_more() -> None:
    assert choose_plan(int(60.5 * GIGABYTE)).name == "resident"
    assert choose_plan(int(60.5 * GIGABYTE), pixels=704 * 1280).name == "fp8"


def test_a_gpu_that_is_too_small_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        choose_plan(6 * GIGABYTE)
    assert caught.value.code == "gpu_too_small"


def test_the_weights_are_those_of_the_published_files() -> None:
    """18.9 billion values of the transformer, 5.7 of the text encoder, 0.63, 0.13 and 0.09 of the others."""
    assert weight_bytes(PLANS["resident"]) == pytest.approx(2 * (18.9 + 5.7 + 0.63 + 0.13) * 1e9 + 4 * 0.09e9, rel=0.01)
    saved = weight_bytes(PLANS["resident"]) - weight_bytes(PLANS["fp8"])
    assert saved == pytest.approx(18.5e9 + 2 * 5.7e9, rel=0.01)
    # Two blocks of forty, and what is in none.
    assert weight_bytes(PLANS["streamed"]) < weight_bytes(PLANS["resident"]) / 10
    assert [plan.name for plan in sorted(PLANS.values(), key=peak_bytes)] == [
        "fp8-streamed",
        "streamed",
        "fp8",
        "resident",
    ]


@pytest.mark.parametrize("name", ["streamed", "fp8-streamed"])
@torch.no_grad()
def test_streamed_blocks_compute_the_same(name: str) -> None:
    networks = RandomNetworks("tiny", torch.float32, CPU)
    resident = networks.transformer(PLANS[name.replace("streamed", "").strip("-") or "resident"])
    inputs = random_inputs(resident.config, 17, 32, 48, CPU)

    streamed = networks.transformer(PLANS[name])

    assert torch.equal(streamed(**inputs), resident(**inputs))


@torch.no_grad()
def test_a_transformer_is_streamed_once_only() -> None:
    """What the plan has streamed is not streamed again by a second call: the weights would be lost."""
    transformer = RandomNetworks("tiny", torch.float32, CPU).transformer(PLANS["resident"])
    inputs = random_inputs(transformer.config, 17, 32, 48, CPU)
    expected = transformer(**inputs)

    stream_blocks(transformer, CPU)

    assert torch.equal(transformer(**inputs), expected)
    assert torch.equal(transformer(**inputs), expected)


@pytest.mark.slow
@torch.no_grad()
def test_one_compiled_block_serves_all_blocks_and_sizes() -> None:
    torch.compiler.reset()
    transformer = RandomNetworks("tiny", torch.float32, CPU).transformer(PLANS["resident"])
    sizes = [random_inputs(transformer.config, 17, *size, CPU) for size in ((64, 96), (80, 80), (96, 64))]
    expected = [transformer(**inputs) for inputs in sizes]
    torch._dynamo.utils.counters.clear()

    compile_blocks(transformer)

    for inputs, eager in zip(sizes, expected, strict=True):
        torch.testing.assert_close(transformer(**inputs), eager, rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(
    ("capability", "installed", "approximate", "backend"),
    [
        (None, {"flash_attn"}, False, "native"),
        ((9, 0), {"flash_attn", "flash_attn_interface"}, False, "_flash_3"),
        ((9, 0), {"flash_attn"}, False, "_native_cudnn"),
        ((8, 9), {"flash_attn", "sageattention"}, False, "flash"),
        ((8, 9), {"flash_attn", "sageattention"}, True, "sage"),
        ((8, 6), {"sageattention"}, True, "native"),
    ],
)
def test_each_gpu_gets_the_fastest_attention_that_is_installed(
    capability, installed, approximate, backend, monkeypatch
) -> None:
    monkeypatch.setattr(attention_backends, "find_spec", lambda name: name in installed or None)

    assert choose_attention(capability, approximate=approximate) == backend
