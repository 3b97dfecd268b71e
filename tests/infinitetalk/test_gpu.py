"""`pytest -m gpu`: the tiny checkpoint in bfloat16 on CUDA agrees with the CPU."""

from pathlib import Path

import pytest
import torch

from infinitetalk.checkpoints.load_transformer import load_transformer
from tests.infinitetalk.parity.golden import FOLDER, GoldenFile
from tests.infinitetalk.parity.transformer import load_dit, run_dit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("case", ["single", "two", "two_null_audio"])
@torch.no_grad()
def test_it_agrees_with_the_reference_as_well_as_bfloat16_can(case: str) -> None:
    golden, yardstick = GoldenFile(FOLDER / "model/dit.json"), GoldenFile(FOLDER / "model/dit_bf16.json")
    model = load_dit(golden.facts["config"], golden.weights, golden.name).to("cuda", torch.bfloat16)

    out = run_dit(model, {name: tensor.cuda() for name, tensor in golden.under(f"{case}/in/").items()}).cpu()

    expected = golden.tensors[f"{case}/out/velocity"]
    error = ((out - expected).norm() / expected.norm()).item()
    assert error <= 1.5 * yardstick.facts["cases"][case]["relative_l2_to_fp32"]


@torch.no_grad()
def test_the_tiny_checkpoint_agrees_with_the_cpu(weights: Path) -> None:
    model = load_transformer(weights, speakers=1)
    config = model.config
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    rows = config.audio_window + config.vae_scale - 1
    inputs = (
        random(1, config.in_channels, 3, 8, 12),
        torch.tensor([700.0]),
        random(1, 7, config.text_dim),
        random(1, 257, config.image_dim),
        random(1, 1, config.audio_window, config.audio_blocks, config.audio_channels),
        random(1, 2, rows, config.audio_blocks, config.audio_channels),
    )
    expected = model(*inputs)

    out = model.cuda()(*(tensor.cuda() for tensor in inputs)).cpu()

    assert (out - expected).norm() / expected.norm() < 0.05
