"""The measurements of a run: as JSON to be compared with later runs, and as Markdown tables.

The names of the fields are keys of the JSON: `--compare` reads reports of earlier versions.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from infinitetalk.bench.parity import Agreement
from infinitetalk.bench.stages import ChunkTiming
from infinitetalk.bench.timing import Timing
from infinitetalk.conditioning.audio_encoder import FPS

# Goals in seconds for 448x896 and 81 frames on an H100: of a pass, and of a chunk by time steps x passes of each. The
# last time step is left out, so a chunk of 8x2 makes 14 passes.
GOALS: dict[str, dict[str, float]] = {
    "bf16": {"pass": 2.9, "8x2": 42, "8x1": 22, "4x1": 10},
    "fp8": {"pass": 2.2, "8x1": 17, "4x1": 8},
}


@dataclass(frozen=True)
class Machine:
    device: str
    torch: str
    memory_bytes: int | None  # usable GPU memory; None on a CPU
    peak_teraflops: float | None  # dense bfloat16, from the datasheet
    dollars_per_hour: float | None


@dataclass(frozen=True)
class Workload:
    weights: str
    height: int
    width: int
    num_frames: int  # of a chunk
    new_frames: int  # of every chunk but the first


@dataclass(frozen=True)
class ChunkReport:
    schedule: str  # time steps x passes of each step; the last step is left out
    timing: ChunkTiming
    gpu_seconds_per_second: float  # of video
    dollars_per_minute: float | None


@dataclass(frozen=True)
class CaseReport:
    name: str
    plan: str
    precision: str  # bf16 or fp8
    attention: str
    compiled: bool
    agreement: Agreement | None  # with the baseline; None for the baseline itself
    gate: str  # baseline, passed, failed, or lossy (8 bits: agreement is reported, not required)
    first_pass_seconds: float  # including torch.compile's work
    one_pass: Timing | None  # None when the gate failed
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    chunks: tuple[ChunkReport, ...] = ()
    first_step_new: ChunkTiming | None = None  # to the first step of a render with a new image and prompt
    first_step_known: ChunkTiming | None = None  # the same when image and prompt are already encoded


@dataclass(frozen=True)
class ServerStart:
    """Times of the model server until it is ready, and until the first denoising step of two jobs."""

    seconds_to_ready: float  # from the start of the process
    cold_seconds: float  # from the start of the process to the first step of the first job
    warm_seconds: float  # from the second job to its first step


@dataclass(frozen=True)
class Report:
    machine: Machine
    workload: Workload
    flops_per_pass: int
    variants: tuple[CaseReport, ...]
    server_start: ServerStart | None
    bytes_to_load: int | None  # with --weights

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def as_markdown(report: Report) -> str:
    machine, work = report.machine, report.workload
    memory = "" if machine.memory_bytes is None else f", {machine.memory_bytes / 1e9:.1f} GB usable"
    price = "" if machine.dollars_per_hour is None else f", at ${machine.dollars_per_hour:g} an hour"
    lines = [
        f"{machine.device}{memory}, torch {machine.torch}{price}. Weights: {work.weights}. {work.height}x{work.width}, "
        f"{work.num_frames} frames a chunk, of which {work.new_frames} are new; "
        f"{report.flops_per_pass / 1e12:.4g} TFLOP a pass.",
        "",
        "| variant | attention | agrees with eager (cosine; 2 steps) | s/pass (quartiles) | TFLOP/s | of peak "
        "| peak GB | first pass |",
        "|---|---|---|---|---|---|---|---|",
        *(_pass_row(report, variant) for variant in report.variants),
        "",
        "| variant | steps x passes | s/chunk | GPU-s per video-s | $ per minute | where it goes |",
        "|---|---|---|---|---|---|",
        *(_chunk_row(variant, chunk, machine) for variant in report.variants for chunk in variant.chunks),
        "",
        "| variant | to the first step: new image and prompt | known |",
        "|---|---|---|",
        *(
            f"| {variant.name} | {variant.first_step_new.seconds:.2f} s ({_stages(variant.first_step_new)}) "
            f"| {variant.first_step_known.seconds:.2f} s |"
            for variant in report.variants
            if variant.first_step_new and variant.first_step_known
        ),
    ]
    if report.server_start and report.bytes_to_load:
        start = report.server_start
        rate = report.bytes_to_load / start.seconds_to_ready / 1e9
        lines += [
            "",
            f"Model server: ready after {start.seconds_to_ready:.1f} s ({report.bytes_to_load / 1e9:.3g} GB, "
            f"{rate:.2g} GB/s), first step of the first job after {start.cold_seconds:.1f} s, of the second "
            f"{start.warm_seconds:.2f} s after it was asked for.",
        ]
    return "\n".join(lines)


def _pass_row(report: Report, variant: CaseReport) -> str:
    cells = [variant.name, variant.attention, _agreement(variant)]
    timing = variant.one_pass
    if timing is None:
        return f"| {' | '.join([*cells, 'failed the gate', '', '', _gigabytes(variant), ''])} |"
    rate = report.flops_per_pass / timing.seconds / 1e12
    peak = report.machine.peak_teraflops
    held = "" if timing.clock_held else " (clock fell: discard)"
    goal = _goal(variant, "pass", timing.seconds, report.machine)
    cells += [
        f"{timing.seconds:.3g} ({timing.quartiles[0]:.3g}-{timing.quartiles[1]:.3g}){held}{goal}",
        f"{rate:.3g}",
        "" if peak is None else f"{100 * rate / peak:.0f} %",
        _gigabytes(variant),
        f"{variant.first_pass_seconds:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _chunk_row(variant: CaseReport, chunk: ChunkReport, machine: Machine) -> str:
    dollars = "" if chunk.dollars_per_minute is None else f"{chunk.dollars_per_minute:.2f}"
    goal = _goal(variant, chunk.schedule, chunk.timing.seconds, machine)
    return (
        f"| {variant.name} | {chunk.schedule} | {chunk.timing.seconds:.3g}{goal} | {chunk.gpu_seconds_per_second:.3g} "
        f"| {dollars} | {_stages(chunk.timing)} |"
    )


def _agreement(variant: CaseReport) -> str:
    agreement = variant.agreement
    if agreement is None:
        return "baseline"
    errors = (
        f"{agreement.cosine:.6f}; {agreement.steps_cosine:.6f}, max. error {100 * agreement.max_relative_error:.2g} %"
    )
    return f"{errors} ({variant.gate})"


def _gigabytes(variant: CaseReport) -> str:
    if variant.peak_allocated_bytes is None or variant.peak_reserved_bytes is None:
        return ""
    return f"{variant.peak_allocated_bytes / 1e9:.1f} ({variant.peak_reserved_bytes / 1e9:.1f} reserved)"


def _stages(timing: ChunkTiming) -> str:
    return ", ".join(f"{name} {seconds:.3g}" for name, seconds in timing.stages.items())


def _goal(variant: CaseReport, what: str, seconds: float, machine: Machine) -> str:
    goal = GOALS.get(variant.precision, {}).get(what)
    if goal is None or not variant.compiled or not machine.device.startswith(("NVIDIA H100", "NVIDIA H200")):
        return ""
    return f", goal {goal:g}: {'met' if seconds <= goal else 'missed'}"


def video_seconds(frames: int) -> float:
    return frames / FPS
