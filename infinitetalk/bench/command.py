"""`python -m infinitetalk bench`: speed and memory of the model on this machine.

A faster way to run it is timed only when it computes the same as the plain one.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from infinitetalk.acceleration.attention_backends import capability_of, choose_attention
from infinitetalk.acceleration.compile import keep_compiled_code
from infinitetalk.acceleration.memory_plan import PLANS, choose_plan
from infinitetalk.bench.measurement import Bench, bench_cases
from infinitetalk.bench.networks import SHAPES, FileNetworks, Networks, RandomNetworks
from infinitetalk.bench.regression import regressions
from infinitetalk.bench.report import CaseReport, Machine, Report, Workload, as_markdown
from infinitetalk.bench.server_start import measure_server_start
from infinitetalk.checkpoints import hub
from infinitetalk.errors import InvalidInput
from infinitetalk.server.variants import Variant

EXIT_REGRESSION = 3
# Dense bfloat16 in TFLOP/s, from the datasheets; dollars per hour, list prices of Modal in 2026.
GPUS = {"H100": (989.0, 3.95), "H200": (989.0, 4.54), "L40S": (362.0, 1.95)}
TRANSFORMER_ALONE = 42e9  # bytes: its weights in bfloat16 and a pass, without the other networks
DEFAULT_SIZES = {"full": (448, 896), "tiny": (64, 96)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help="the folder of `download`; the start of the server is timed too")
    source.add_argument("--random-weights", choices=sorted(SHAPES), help="published or tiny sizes")
    parser.add_argument("--merged", type=Path, action="append", default=[], help="files of `merge`")
    parser.add_argument("--lora", choices=[*sorted(hub.PRESET_LORAS), "none"], default="standard")
    parser.add_argument("--size", type=_size, help="HEIGHTxWIDTH; by default 448x896")
    parser.add_argument("--plan", choices=sorted(PLANS), action="append", help="by default those that fit, at most two")
    parser.add_argument("--attention", help="a backend of diffusers; by default chosen by the GPU")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument("--compile-cache", type=Path, help="keep torch.compile's code here")
    parser.add_argument("--repeats", type=_positive, default=5, help="timed passes, after two untimed ones")
    parser.add_argument("--memory-limit", type=float, help="GiB of GPU memory; 44 stands in for an L40S")
    parser.add_argument("--dollars-per-hour", type=float, help="default: the list price of some GPUs")
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--compare", type=Path, help="an earlier report; ends with status 3 if this one is worse")


def run(options: argparse.Namespace) -> int:
    disable_progress_bar()
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    if options.compile_cache:
        keep_compiled_code(options.compile_cache)
    machine = _machine(options, device)
    networks = _networks(options, device)
    workload = _workload(options, networks)
    plans = options.plan or _plans_that_fit(machine)
    cases = bench_cases(
        plans,
        attention=options.attention or choose_attention(capability_of(device)),
        compiled=device.type == "cuda" and not options.no_compile,
        baseline=PLANS["streamed" if (machine.memory_bytes or TRANSFORMER_ALONE) < TRANSFORMER_ALONE else "resident"],
    )
    bench = Bench(networks, workload, device, repeats=options.repeats, dollars_per_hour=machine.dollars_per_hour)
    report = Report(machine, workload, 0, (), None, None)
    for number, case in enumerate(cases):
        measured = bench.run(case, whole_chunks=number > 0)
        report = replace(report, flops_per_pass=bench.flops_per_pass, variants=(*report.variants, measured))
        # Written after each case: a later one may run out of memory.
        _keep(options.json, report)
        print(f"{case.name}: {measured.gate}{_speed(measured)}", flush=True)
    if isinstance(networks, FileNetworks):
        start = measure_server_start(
            options.weights,
            options=_serve_options(options, device, plans[0]),
            settings=networks.settings,
            size=(workload.height, workload.width),
            lora=_lora(options),
        )
        report = replace(report, server_start=start, bytes_to_load=networks.bytes_to_load(PLANS[plans[0]]))
        _keep(options.json, report)
    print(as_markdown(report))
    return _compare(options.compare, report) if options.compare else 0


def _keep(path: Path | None, report: Report) -> None:
    if path:
        path.write_text(json.dumps(report.as_json(), indent=1))


def _speed(variant: CaseReport) -> str:
    return "" if variant.one_pass is None else f", {variant.one_pass.seconds:.3g} s a pass"


def _compare(path: Path, report: Report) -> int:
    # Converted through JSON, which turns tuples into lists as in the earlier report.
    worse = regressions(json.loads(path.read_text()), json.loads(json.dumps(report.as_json())))
    for line in worse:
        print(f"Worse than {path}: {line}")
    return EXIT_REGRESSION if worse else 0


def _machine(options: argparse.Namespace, device: torch.device) -> Machine:
    name, memory = "CPU", None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
        if options.memory_limit:
            limit = round(options.memory_limit * 2**30)
            torch.cuda.set_per_process_memory_fraction(min(limit / memory, 1.0), device)
            memory = min(limit, memory)
    elif options.memory_limit:
        raise InvalidInput("no_gpu", "--memory-limit needs a GPU.")
    known = next((facts for model, facts in GPUS.items() if model in name), (None, None))
    return Machine(name, torch.__version__, memory, known[0], options.dollars_per_hour or known[1])


def _networks(options: argparse.Namespace, device: torch.device) -> Networks:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if options.random_weights:
        return RandomNetworks(options.random_weights, dtype, device)
    return FileNetworks(options.weights, options.merged, Variant(1, _lora(options)), dtype, device)


def _workload(options: argparse.Namespace, networks: Networks) -> Workload:
    settings = networks.settings
    tiny = settings.num_frames_per_chunk != SHAPES["full"].settings.num_frames_per_chunk
    height, width = options.size or DEFAULT_SIZES["tiny" if tiny else "full"]
    frames = settings.num_frames_per_chunk
    return Workload(networks.name, height, width, frames, frames - settings.motion_frames)


def _plans_that_fit(machine: Machine) -> list[str]:
    if machine.memory_bytes is None:
        return ["resident", "fp8"]
    first = choose_plan(machine.memory_bytes).name
    second = {"resident": "fp8", "fp8": "streamed"}.get(first)
    return [first, second] if second else [first]


def _lora(options: argparse.Namespace) -> str | None:
    return None if options.lora == "none" else options.lora


def _serve_options(options: argparse.Namespace, device: torch.device, plan: str) -> list[str]:
    more = [f"--merged={path}" for path in options.merged]
    if device.type == "cpu":
        more += ["--dtype=float32"]
    if options.no_compile:
        more += ["--no-compile"]
    return [*more, f"--lora={options.lora}", f"--memory-plan={plan}"]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()) or int(height) % 16 or int(width) % 16:
        raise argparse.ArgumentTypeError("HEIGHTxWIDTH, multiples of 16")
    return int(height), int(width)
