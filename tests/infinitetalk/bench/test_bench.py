"""`python -m infinitetalk bench` on the CPU, with tiny networks."""

import dataclasses
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from infinitetalk.__main__ import main
from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.bench import stages
from infinitetalk.bench.measurement import Bench, bench_cases
from infinitetalk.bench.networks import FileNetworks, RandomNetworks
from infinitetalk.bench.regression import regressions
from infinitetalk.bench.report import CaseReport, ChunkReport, Machine, Report, Workload, as_markdown
from infinitetalk.bench.stages import ChunkTiming
from infinitetalk.bench.timing import GpuState, Timing
from infinitetalk.server.variants import Variant

CPU = torch.device("cpu")
WORKLOAD = Workload("random, tiny", 64, 96, 17, 12)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("bench") / "report.json"
    arguments = ["bench", "--random-weights", "tiny", "--size", "32x48", "--repeats", "1", "--json", str(path)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Seconds of computing: between two stages the machine may do something else.
        monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=time.thread_time))
        monkeypatch.setattr(Bench, "_free", lambda self: None)  # gc.collect() takes longer than loading tiny networks.
        assert main(arguments) == 0
    return json.loads(path.read_text())


def test_it_measures_each_variant_against_the_baseline(report) -> None:
    baseline, resident, fp8 = report["variants"]

    assert [variant["gate"] for variant in report["variants"]] == ["baseline", "passed", "lossy"]
    assert resident["agreement"]["max_relative_error"] == 0
    assert 0 < fp8["agreement"]["max_relative_error"] < 0.05
    assert all(variant["one_pass"]["seconds"] > 0 for variant in report["variants"])
    assert baseline["chunks"] == []


def test_the_stages_of_a_chunk_are_most_of_it(report) -> None:
    for variant in report["variants"][1:]:
        assert [chunk["schedule"] for chunk in variant["chunks"]] == ["4x1", "8x1", "8x2"]
        for chunk in variant["chunks"]:
            timing = chunk["timing"]
            assert {"DiT", "VAE encode", "VAE decode", "colors", "copy to host"} <= timing["stages"].keys()
            assert 0.5 * timing["seconds"] < sum(timing["stages"].values()) <= timing["seconds"]
            assert chunk["gpu_seconds_per_second"] == pytest.approx(timing["seconds"] / (12 / 25))
        # Of a picture that is known nothing is encoded again.
        assert {"CLIP", "VAE encode, reference"} <= variant["first_step_new"]["stages"].keys()
        assert not {"CLIP", "VAE encode, reference"} & variant["first_step_known"]["stages"].keys()


class ChangedNetworks(RandomNetworks):
    """Other weights with each call."""

    calls = 0

    def transformer(self, plan):
        self.calls += 1
        transformer = super().transformer(plan)
        with torch.no_grad():
            transformer.proj_out.weight.mul_(1 + 0.1 * self.calls * torch.randn_like(transformer.proj_out.weight))
        return transformer


@pytest.mark.slow
def test_what_computes_something_else_gets_no_speed() -> None:
    bench = Bench(ChangedNetworks("tiny", torch.float32, CPU), WORKLOAD, CPU, repeats=1, dollars_per_hour=None)
    variants = bench_cases(["resident"], attention="native", compiled=False, baseline=PLANS["resident"])

    measured = tuple(bench.run(variant, whole_chunks=True) for variant in variants)

    assert measured[1].gate == "failed"
    assert measured[1].one_pass is None
    assert measured[1].chunks == ()
    machine = Machine("CPU", "2", None, None, None)
    assert "failed the gate" in as_markdown(Report(machine, WORKLOAD, bench.flops_per_pass, measured, None, None))


@pytest.mark.slow
def test_streamed_blocks_compute_the_same() -> None:
    bench = Bench(RandomNetworks("tiny", torch.float32, CPU), WORKLOAD, CPU, repeats=2, dollars_per_hour=None)
    variants = bench_cases(["streamed"], attention="native", compiled=False, baseline=PLANS["resident"])

    _, streamed = (bench.run(variant, whole_chunks=False) for variant in variants)

    assert streamed.agreement.max_relative_error == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_with_weights_it_times_the_servers_start_too(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    arguments = ["--weights", str(weights), "--plan", "resident", "--repeats", "2", "--dollars-per-hour", "2"]

    assert main(["bench", *arguments, "--json", str(path)]) == 0

    report = json.loads(path.read_text())
    start = report["server_start"]
    assert start["cold_seconds"] > start["seconds_to_ready"] > start["warm_seconds"] > 0
    files = FileNetworks(weights, [], Variant(), torch.float32, CPU).bytes_to_load(PLANS["resident"])
    assert report["bytes_to_load"] == files > 10_000
    chunk = report["variants"][1]["chunks"][0]
    assert chunk["dollars_per_minute"] == pytest.approx(chunk["gpu_seconds_per_second"] * 60 * 2 / 3600)


@pytest.mark.slow
def test_a_run_that_is_slower_than_an_earlier_one_says_so(report, tmp_path: Path, capsys) -> None:
    earlier = json.loads(json.dumps(report))
    for chunk in earlier["variants"][1]["chunks"]:
        chunk["timing"]["seconds"] = -1.0
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(earlier))

    arguments = ["bench", "--random-weights", "tiny", "--size", "32x48", "--plan", "resident", "--repeats", "2"]
    status = main([*arguments, "--compare", str(path)])

    assert status == 3
    assert "resident: a chunk at 8x2" in capsys.readouterr().out


def worse(report: dict, *, chunk_seconds: float = 0.0, peak: int | None = None) -> dict:
    changed = json.loads(json.dumps(report))
    for variant in changed["variants"]:
        variant["peak_allocated_bytes"] = peak
        for chunk in variant["chunks"]:
            chunk["timing"]["seconds"] += chunk_seconds
    return changed


def test_what_counts_as_worse(report) -> None:
    assert regressions(report, report) == []
    assert regressions(report, worse(report, chunk_seconds=0.4)) == []
    assert len(regressions(report, worse(report, chunk_seconds=1.0))) == 6
    large = worse(report, peak=10**10)
    assert regressions(large, worse(report, peak=10**10 + 10**8)) == []
    assert len(regressions(large, worse(report, peak=10**10 + 10**9))) == 3
    other = worse(report, chunk_seconds=1.0)
    other["machine"]["device"] = "another"
    assert regressions(report, other) == []


@pytest.mark.parametrize(("seconds", "clock", "told"), [(2.5, 1980, "goal 2.9: met"), (3.0, 1500, "discard")])
def test_the_table_tells_goals_and_a_clock_that_fell(seconds, clock, told) -> None:
    timing = Timing(seconds, (seconds, seconds), 5, GpuState(1980, 650, 5e10), GpuState(clock, 650, 5e10))
    chunk = ChunkReport("8x1", ChunkTiming(30.0, {"DiT": 29.0}), 30 / 2.88, 0.69)
    variant = CaseReport(
        "resident", "resident", "bf16", "_native_cudnn", True, None, "baseline", 60.0, timing, 5 * 10**10, 6 * 10**10,
        (chunk,),
    )  # fmt: skip
    machine = Machine("NVIDIA H100 80GB HBM3", "2.13", 85 * 10**9, 989.0, 3.95)
    report = Report(
        machine, dataclasses.replace(WORKLOAD, height=448, width=896), 1839 * 10**12, (variant,), None, None
    )

    table = as_markdown(report)

    assert told in table
    assert f"{1839 / seconds:.3g} | {100 * 1839 / seconds / 989:.0f} % | 50.0 (60.0 reserved)" in table
    assert "goal 22: missed" in table


def test_what_it_cannot_do_it_refuses(capsys) -> None:
    if not torch.cuda.is_available():
        assert main(["bench", "--random-weights", "tiny", "--memory-limit", "44"]) == 2
        assert "no_gpu" in capsys.readouterr().err
    for wrong in (["--size", "100x100"], ["--repeats", "0"], ["--plan", "huge"]):
        with pytest.raises(SystemExit):
            main(["bench", "--random-weights", "tiny", *wrong])
