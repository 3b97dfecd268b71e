"""Checks of the schedule, of projected guidance and of the colour correction."""

from collections.abc import Callable

import torch

from infinitetalk.sampling.color_match import correct_colors
from infinitetalk.sampling.guidance import AdaptiveProjectedGuidance, _Projection
from infinitetalk.sampling.scheduler import make_scheduler
from infinitetalk.sampling.timesteps import shifted_timesteps
from tests.infinitetalk.parity.golden import GoldenFile, assert_close


def check_timesteps(golden: GoldenFile) -> None:
    for number, case in enumerate(golden.facts["cases"]):
        expected = golden.tensors[f"case{number}/out/timesteps"]
        ours = torch.from_numpy(shifted_timesteps(case["steps"], case["shift"]))
        assert_close(ours, expected, 1e-6, f"case {number}")
        scheduler = make_scheduler(case["steps"], case["shift"], keep_idle_steps=True)
        assert_close(scheduler.sigmas * 1000, expected, 1e-3, f"case {number} by the scheduler")
        assert scheduler.sigmas[-1] == 0


def check_apg(golden: GoldenFile) -> None:
    for number, case in enumerate(golden.facts["cases"]):
        projection = _Projection(AdaptiveProjectedGuidance(case["momentum"], case["threshold"]))
        for step in range(case["steps"]):
            given = golden.under(f"case{number}/step{step}/in/")
            out = projection(given["diff"], given["pred_cond"])
            expected = golden.tensors[f"case{number}/step{step}/out/update"]
            assert_close(out, expected, 1e-5, f"case {number} step {step}")


def check_colour(golden: GoldenFile) -> None:
    for number, case in enumerate(golden.facts["cases"]):
        given = golden.under(f"case{number}/in/")
        out = correct_colors(given["source"], given["reference"], case["strength"])
        assert_close(out, golden.tensors[f"case{number}/out/video"], 1e-4, f"case {number}")


SAMPLING: dict[str, Callable[[GoldenFile], None]] = {
    "timesteps": check_timesteps,
    "apg": check_apg,
    "color": check_colour,
}
