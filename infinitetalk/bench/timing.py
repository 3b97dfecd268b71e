"""How long calls take on a device, and whether the GPU kept its clock rate meanwhile."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

WARM_UPS = 2
CLOCK_LOST = 0.05  # A measurement during which the clock fell by a larger share is discarded.


@dataclass(frozen=True)
class GpuState:
    clock_mhz: float
    power_watts: float
    used_bytes: float


@dataclass(frozen=True)
class Timing:
    seconds: float  # median
    quartiles: tuple[float, float]
    repeats: int
    before: GpuState | None
    after: GpuState | None

    @property
    def clock_held(self) -> bool:
        if self.before is None or self.after is None:
            return True
        return self.after.clock_mhz >= (1 - CLOCK_LOST) * self.before.clock_mhz


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds until all work that the call has queued on the device is done."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def measure(call: Callable[[], Any], device: torch.device, repeats: int) -> Timing:
    for _ in range(WARM_UPS):
        call()
    synchronise(device)
    before = gpu_state(device)
    seconds = [_device_seconds(call, device) for _ in range(repeats)]
    lower, median, upper = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return Timing(median, (lower, upper), repeats, before, gpu_state(device))


def gpu_state(device: torch.device) -> GpuState | None:
    """State of the GPU from nvidia-smi; None without a GPU or without nvidia-smi."""
    if device.type != "cuda":
        return None
    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    query = ["nvidia-smi", f"--id={gpu}", "--query-gpu=clocks.sm,power.draw,memory.used"]
    try:
        command = [*query, "--format=csv,noheader,nounits"]
        output = subprocess.run(command, capture_output=True, text=True, check=True)
        clock, power, used = (float(value) for value in output.stdout.split(","))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return GpuState(clock, power, used * 2**20)


def _device_seconds(call: Callable[[], Any], device: torch.device) -> float:
    if device.type != "cuda":
        return seconds_of(call, device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    synchronise(device)
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1000
