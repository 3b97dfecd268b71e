"""Linear layers in 8 bits: as near to the exact product as E4M3 can be, and never where they must not multiply so."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from infinitetalk.acceleration.fp8 import STORED, Float8Linear, multiplies_eight_bits, quantise_rows, to_float8

# E4M3 keeps 3 bits of the mantissa: steps of 2^-3 between two powers of two, so a root mean square error of
# 2^-3 / sqrt(12) on values that are 1.36 to 1.53 in the root mean square, by how they are spread. That is 2.4 to 2.7 %.
# A sum of products keeps the relative error of its terms; weights and states both bring theirs.
STEP_ERROR = 0.027
PRODUCT_ERROR = STEP_ERROR * 2**0.5


def make(inputs: int, outputs: int, in_eight_bits: bool | None) -> tuple[Float8Linear, torch.Tensor, torch.Tensor]:
    """The layer, and the weight and bias that it was made of."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    bias = torch.randn(outputs, generator=generator).bfloat16()
    linear = Float8Linear(inputs, outputs)
    stored, scale, _ = to_float8(weight)
    linear.load_state_dict({"weight": stored, "weight_scale": scale, "bias": bias}, assign=True)
    linear.in_eight_bits = in_eight_bits
    return linear, weight, bias


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean over the rows, so that large ones do not hide small ones, of the relative error in the L2 norm."""
    difference, expected = (actual.float() - expected.float()).norm(dim=-1), expected.float().norm(dim=-1)
    return (difference / expected).mean().item()


def states_like_a_networks(*shape: int) -> torch.Tensor:
    """Tokens of very different size, and a few channels far above the others."""
    generator = torch.Generator().manual_seed(1)
    sizes = 10 ** torch.empty(*shape[:-1], 1).uniform_(-3, 3, generator=generator)
    states = torch.randn(shape, generator=generator) * sizes
    states[..., ::97] *= 20
    return states.bfloat16()


@pytest.mark.parametrize(("inputs", "outputs"), [(5120, 64), (128, 256), (16, 16)])
def test_the_product_is_as_near_as_eight_bits_allow(inputs: int, outputs: int) -> None:
    linear, weight, _ = make(inputs, outputs, in_eight_bits=True)
    linear.bias.zero_()  # It would hide the error of small rows.
    states = states_like_a_networks(1, 96, inputs)

    out = linear(states)

    assert out.shape == (1, 96, outputs)
    assert out.dtype == torch.bfloat16
    exact = F.linear(states.float(), weight)
    linear.in_eight_bits = False
    widened = linear(states)
    assert 0 < relative(out, widened) < STEP_ERROR  # of the states alone
    assert relative(out, exact) < PRODUCT_ERROR


def test_it_adds_no_error_but_that_of_rounding_the_states() -> None:
    linear, _, bias = make(64, 32, in_eight_bits=True)
    states = states_like_a_networks(5, 64)

    rounded, scale = quantise_rows(states)
    expected = F.linear(rounded.float() * scale, linear.weight.float() * linear.weight_scale, bias.float())

    assert relative(linear(states), expected) < 2**-8  # that of bfloat16


@pytest.mark.parametrize("shape", [(64,), (1, 64), (2, 3, 4, 64)])
def test_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    linear, *_ = make(64, 32, in_eight_bits=True)

    assert linear(torch.ones(shape, dtype=torch.bfloat16)).shape == (*shape[:-1], 32)


@pytest.mark.parametrize(
    ("inputs", "outputs", "dtype"),
    [(64, 24, torch.bfloat16), (40, 32, torch.bfloat16), (64, 32, torch.float32), (64, 32, torch.float16)],
)
def test_what_the_tensor_cores_do_not_take_is_widened(inputs: int, outputs: int, dtype: torch.dtype) -> None:
    asked, weight, bias = make(inputs, outputs, in_eight_bits=True)
    states = torch.randn(7, inputs, generator=torch.Generator().manual_seed(2)).to(dtype)

    out = asked(states)

    assert out.dtype == dtype
    assert torch.equal(out, make(inputs, outputs, in_eight_bits=False)[0](states))


def test_by_default_a_cpu_widens() -> None:
    states = states_like_a_networks(7, 64)

    assert torch.equal(make(64, 32, None)[0](states), make(64, 32, False)[0](states))


def test_a_row_of_zeros_gives_the_bias_and_what_is_no_number_stays_in_its_row() -> None:
    linear, _, bias = make(64, 32, in_eight_bits=True)
    states = states_like_a_networks(4, 64)
    expected = linear(states)[3]
    states[0] = 0
    states[1] = torch.finfo(torch.bfloat16).tiny
    states[2, 5] = float("nan")

    out = linear(states)

    assert torch.equal(out[0], bias)
    assert out[1].isfinite().all()
    assert out[2].isnan().all()  # It must come to light, not be hidden.
    assert torch.equal(out[3], expected)


def test_the_largest_value_of_each_row_is_kept() -> None:
    states = states_like_a_networks(64, 32)

    rounded, scale = quantise_rows(states)

    assert rounded.dtype == STORED
    assert rounded.float().abs().amax(dim=1).eq(448).all()
    assert torch.allclose((rounded.float() * scale).abs().amax(dim=1), states.float().abs().amax(dim=1))


@pytest.mark.slow
def test_it_compiles_without_a_break() -> None:
    linear, *_ = make(64, 32, in_eight_bits=True)
    states = states_like_a_networks(1, 9, 64)
    network = nn.Sequential(linear, nn.GELU())

    with torch.no_grad():
        out, expected = torch.compile(network, fullgraph=True, dynamic=True)(states), network(states)

    assert relative(out, expected) < 0.01


def test_asking_the_device_compiles_without_a_break() -> None:
    linear, *_ = make(64, 32, in_eight_bits=None)
    states = states_like_a_networks(1, 9, 64)

    with torch.no_grad():
        out, expected = torch.compile(linear, fullgraph=True, backend="eager")(states), linear(states)

    assert torch.equal(out, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_a_gpu_agrees() -> None:
    linear, *_ = make(5120, 64, in_eight_bits=True)
    states = states_like_a_networks(1, 300, 5120)
    expected = linear(states)
    linear.in_eight_bits = None  # As the device can: before Ada it widens.

    out = linear.cuda()(states.cuda()).cpu()

    assert relative(out, expected) < (0.01 if multiplies_eight_bits(linear.weight.device) else STEP_ERROR)
