"""Several processes (gloo, on the CPU) give what one gives."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import multiprocessing

from infinitetalk.errors import InvalidInput
from infinitetalk.model.sequence_parallel import TokenShard, enable_context_parallel
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.server.distributed import Group
from tests.infinitetalk import forked
from tests.infinitetalk.parity.golden import FOLDER, GoldenFile, assert_close
from tests.infinitetalk.parity.transformer import load_dit, run_dit

GOLDEN = ["single", "two", "two_null_audio"]  # 72 tokens, 24 a frame: no border of 2 or 4 shares is one of frames
UNEVEN = ["uneven_single", "uneven_two", "uneven_covered_two"]  # 45 tokens, 3 x 5 a frame
COMPILED = ["compiled_uneven_two"]
SIZES = [4, 2]
CASES = [*((size, case) for size in SIZES for case in (*GOLDEN, *UNEVEN, "cached")), *((2, case) for case in COMPILED)]
SENT = {"prompt": "hello", "voice": torch.arange(5)}


class OnceOnly:
    """Stands in for TeaCache: the blocks are computed in the first call and repeated in the second."""

    def __init__(self) -> None:
        self.residual = None

    def reuse(self, modulation: torch.Tensor) -> bool:
        return self.residual is not None

    def store(self, residual: torch.Tensor) -> None:
        self.residual = residual


def load() -> InfiniteTalkTransformer3DModel:
    golden = GoldenFile(FOLDER / "model/dit.json")
    return load_dit(golden.facts["config"], golden.weights, golden.name)


def given(case: str) -> dict[str, torch.Tensor]:
    golden = GoldenFile(FOLDER / "model/dit.json")
    case = case.removeprefix("compiled_")
    if case not in UNEVEN:
        return golden.under(f"{'two' if case == 'cached' else case}/in/")
    covered = "covered" in case  # by the speakers' boxes: there is no background
    inputs = golden.under(f"{case.rpartition('_')[2]}/in/")
    generator = torch.Generator().manual_seed(0)
    inputs["latent"] = torch.randn(16, 3, 6, 10, generator=generator)
    inputs["y"] = torch.randn(1, 20, 3, 6, 10, generator=generator)
    inputs["ref_target_masks"] = torch.zeros(3, 6, 10)
    inputs["ref_target_masks"][0, :, :4], inputs["ref_target_masks"][1, :, 4:8] = 1, 1
    inputs["ref_target_masks"][0 if covered else 2, :, 8:] = 1
    return inputs


@torch.no_grad()
def compiled_outputs(model: InfiniteTalkTransformer3DModel) -> dict[str, torch.Tensor]:
    """Traced, but run as they are: to generate code would take long."""
    model.compile_repeated_blocks(fullgraph=True, dynamic=True, backend="eager")
    return {case: run_dit(model, given(case)) for case in COMPILED}


@torch.no_grad()
def outputs(model: InfiniteTalkTransformer3DModel) -> dict[str, torch.Tensor]:
    out = {case: run_dit(model, given(case)) for case in (*GOLDEN, *UNEVEN)}
    cache = OnceOnly()
    run_dit(model, given("cached"), cache)
    out["cached"] = run_dit(model, {**given("cached"), "latent": given("single")["latent"]}, cache)
    return out


def work(rank: int, folder: Path, ports: list[int]) -> None:
    torch.set_num_threads(1)
    for size, port in zip(SIZES, ports, strict=True):
        if rank < size:
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
            torch.save(work_together(rank, size), folder / f"{size}-{rank}.pt")


def work_together(rank: int, size: int) -> dict[str, Any]:
    group = Group.init("cpu")
    model, shares = load(), set()
    model.blocks[0].ffn.register_forward_pre_hook(lambda _, inputs: shares.add(inputs[0].shape[1]))
    enable_context_parallel(model, size)
    results: dict[str, Any] = outputs(model)
    results["shares"] = sorted(shares)
    results["sent"] = group.broadcast(SENT if group.leads else None)
    results["agreed"] = [group.agree(rank == 0), group.agree(rank > 0)]
    if size == 2:
        # Tracing takes seconds, and all run the same code: one is traced, whose tokens do not begin with a frame.
        results |= compiled_outputs(model) if rank == 1 else {case: run_dit(model, given(case)) for case in COMPILED}
    results["refused"] = [refusal(size + 1), refusal(size, heads=size + 1)]
    group.close()
    return results


def refusal(degree: int, heads: int = 4) -> str:
    transformer = SimpleNamespace(config=SimpleNamespace(num_attention_heads=heads))
    with pytest.raises(InvalidInput) as caught:
        enable_context_parallel(transformer, degree)
    return caught.value.code


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[int, list[dict]]:
    """By the number of processes and by rank."""
    folder = tmp_path_factory.mktemp("parallel")
    ports = [free_port() for _ in SIZES]
    start_method = forked.CONTEXT.get_start_method()
    multiprocessing.start_processes(work, (folder, ports), nprocs=max(SIZES), start_method=start_method)
    return {
        size: [torch.load(folder / f"{size}-{rank}.pt", weights_only=True) for rank in range(size)] for size in SIZES
    }


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    return outputs(load())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(("size", "case"), CASES)
def test_they_give_what_one_gives(results, alone, size: int, case: str) -> None:
    for rank in range(size):
        expected = alone[case.removeprefix("compiled_")]
        assert_close(results[size][rank][case], expected, 1e-5, f"{case}, rank {rank} of {size}")


def test_without_background_the_output_is_finite_and_another(alone) -> None:
    covered, usual = alone["uneven_covered_two"], alone["uneven_two"]

    assert covered.isfinite().all()
    assert not torch.allclose(covered, usual, atol=1e-3)


@pytest.mark.parametrize(("size", "shares"), [(2, [[23, 36], [22, 36]]), (4, [[12, 18], *[[11, 18]] * 3])])
def test_each_has_its_own_share_of_the_tokens(results, size: int, shares: list) -> None:
    assert [result["shares"] for result in results[size]] == shares


@pytest.mark.parametrize("size", SIZES)
def test_the_leaders_word_counts(results, size: int) -> None:
    for rank in range(size):
        assert results[size][rank]["sent"]["prompt"] == SENT["prompt"]
        assert torch.equal(results[size][rank]["sent"]["voice"], SENT["voice"])
        assert results[size][rank]["agreed"] == [True, False]


@pytest.mark.parametrize("size", SIZES)
def test_what_cannot_be_shared_is_refused(results, size: int) -> None:
    """Among more processes than there are; a number of heads that does not divide."""
    assert results[size][0]["refused"] == ["gpus_invalid", "gpus_invalid"]


def test_one_process_needs_no_others(monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)

    group = Group.init("cpu")
    model = load()
    enable_context_parallel(model, group.size)

    assert group.leads
    assert group.broadcast("hello") == "hello"
    assert not group.agree(False)
    assert model.token_group is None
    group.close()


@pytest.mark.parametrize(
    ("shares", "frames", "padding"),
    [((10, 20), slice(0, 1), (0, 0)), ((11, 9), slice(0, 2), (0, 9)), ((7, 3), slice(0, 1), (0, 3))],
)
def test_the_first_shard_is_filled_up_to_whole_frames(shares, frames: slice, padding: tuple[int, int]) -> None:
    shard = TokenShard(shares, 0, frame_tokens=10, group=None)

    assert (shard.frames, shard.padding) == (frames, padding)


@pytest.mark.parametrize(
    ("shares", "frames", "padding"),
    [((13, 4), slice(1, 2), (3, 3)), ((20, 10), slice(2, 3), (0, 0)), ((5, 20), slice(0, 3), (5, 5))],
)
def test_a_later_shard_is_filled_up_to_whole_frames(shares, frames: slice, padding: tuple[int, int]) -> None:
    shard = TokenShard(shares, 1, frame_tokens=10, group=None)

    assert (shard.frames, shard.padding) == (frames, padding)
