"""Measures one case after the other, the baseline first, with one set of weights in memory at a time."""

import dataclasses
import gc
from dataclasses import dataclass
from typing import Any

import torch

from infinitetalk.acceleration.attention_backends import use_attention
from infinitetalk.acceleration.compile import compile_blocks
from infinitetalk.acceleration.memory_plan import PLANS, MemoryPlan
from infinitetalk.bench.flops import transformer_flops
from infinitetalk.bench.networks import Networks
from infinitetalk.bench.parity import Outputs, outputs_of, random_inputs
from infinitetalk.bench.report import CaseReport, ChunkReport, Workload, video_seconds
from infinitetalk.bench.stages import ChunkBench
from infinitetalk.bench.timing import measure, seconds_of
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel
from infinitetalk.pipeline import InfiniteTalkPipeline
from infinitetalk.sampling.guidance import GuidanceScales
from infinitetalk.sampling.settings import Settings

SCHEDULES = ((4, 1), (8, 1), (8, 2))  # time steps, passes of each step that is made
GUIDED = 2.0  # a guidance scale: any but 1 needs a second pass


@dataclass(frozen=True)
class BenchCase:
    """One way to run the transformer."""

    name: str
    plan: MemoryPlan
    attention: str
    compiled: bool

    @property
    def precision(self) -> str:
        return "fp8" if self.plan.fp8 else "bf16"


class Bench:
    def __init__(
        self,
        networks: Networks,
        workload: Workload,
        device: torch.device,
        *,
        repeats: int,
        dollars_per_hour: float | None,
    ) -> None:
        self._networks = networks
        self._work = workload
        self._device = device
        self._repeats = repeats
        self._dollars_per_hour = dollars_per_hour
        self._baseline: Outputs | None = None
        self.flops_per_pass = 0  # counted with the first case

    def run(self, case: BenchCase, *, whole_chunks: bool) -> CaseReport:
        """The first case is the baseline of the others. whole_chunks: time whole chunks too, not only one pass."""
        self._free()
        transformer = self._networks.transformer(case.plan)
        use_attention(transformer, case.attention)
        if case.compiled:
            compile_blocks(transformer)
        report = self._one_pass(case, transformer)
        if whole_chunks and report.one_pass is not None:
            encoders = self._networks.encoders(case.plan)
            pipeline = InfiniteTalkPipeline(
                transformer=transformer,
                vae=encoders.vae,
                image_encoder=encoders.image_encoder,
                text_encoder=encoders.text_encoder,
            )
            report = self._chunks(report, pipeline)
        if self._device.type == "cuda":
            report = dataclasses.replace(
                report,
                peak_allocated_bytes=torch.cuda.max_memory_allocated(self._device),
                peak_reserved_bytes=torch.cuda.max_memory_reserved(self._device),
            )
        return report

    def _one_pass(self, case: BenchCase, transformer: InfiniteTalkTransformer3DModel) -> CaseReport:
        work = self._work
        self.flops_per_pass = self.flops_per_pass or transformer_flops(
            _arguments(transformer), work.num_frames, work.height, work.width
        )
        inputs = random_inputs(transformer.config, work.num_frames, work.height, work.width, self._device)

        @torch.no_grad()
        def one_pass() -> torch.Tensor:
            velocity: torch.Tensor = transformer(**inputs)
            return velocity

        first = seconds_of(one_pass, self._device)
        outputs = outputs_of(transformer, inputs)
        agreement, gate = None, "baseline"
        if self._baseline is None:
            self._baseline = outputs
        else:
            agreement = outputs.agree_with(self._baseline)
            gate = "lossy" if case.plan.fp8 else "passed" if agreement.passed else "failed"
        return CaseReport(
            case.name,
            case.plan.name,
            case.precision,
            case.attention,
            case.compiled,
            agreement,
            gate,
            first,
            None if gate == "failed" else measure(one_pass, self._device, self._repeats),
        )

    def _chunks(self, report: CaseReport, pipeline: InfiniteTalkPipeline) -> CaseReport:
        settings = self._networks.settings
        bench = ChunkBench(pipeline, settings, (self._work.height, self._work.width), self._device)
        bench.seconds_to_first_step(seed=0)  # Not timed: cuDNN chooses its kernels, the allocator its blocks.
        new = bench.seconds_to_first_step(seed=1)
        known = bench.seconds_to_first_step(seed=1)
        bench.steady_chunk(_scheduled(settings, 1, 1), seed=1)
        chunks = []
        for steps, passes in SCHEDULES:
            timing = bench.steady_chunk(_scheduled(settings, steps, passes), seed=1)
            rate = timing.seconds / video_seconds(self._work.new_frames)
            dollars = None if self._dollars_per_hour is None else rate * 60 * self._dollars_per_hour / 3600
            chunks.append(ChunkReport(f"{steps}x{passes}", timing, rate, dollars))
        return dataclasses.replace(report, chunks=tuple(chunks), first_step_new=new, first_step_known=known)

    def _free(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)


def bench_cases(plans: list[str], *, attention: str, compiled: bool, baseline: MemoryPlan) -> list[BenchCase]:
    chosen = [
        BenchCase(name, plan, attention, compiled and not plan.streamed) for name in plans for plan in [PLANS[name]]
    ]
    return [BenchCase("eager", baseline, "native", compiled=False), *chosen]


def _arguments(transformer: InfiniteTalkTransformer3DModel) -> dict[str, Any]:
    return {name: value for name, value in transformer.config.items() if not name.startswith("_")}


def _scheduled(settings: Settings, steps: int, passes: int) -> Settings:
    scales = GuidanceScales(text=1.0, audio=1.0 if passes == 1 else GUIDED)
    assert len(scales.branches()) == passes
    return dataclasses.replace(
        settings, num_inference_steps=steps, text_guidance_scale=scales.text, audio_guidance_scale=scales.audio
    )
