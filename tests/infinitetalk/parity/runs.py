"""Checks of whole runs of the sampling loop, with the reference's own noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from infinitetalk import pipeline
from infinitetalk.buckets import nearest_bucket
from infinitetalk.conditioning import vae as latent_space
from infinitetalk.conditioning.chunk_inputs import ChunkInputs
from infinitetalk.conditioning.image import resize_and_crop
from infinitetalk.pipeline import GeneratedChunk, InfiniteTalkPipeline
from infinitetalk.sampling.color_match import correct_colors
from infinitetalk.sampling.guidance import AdaptiveProjectedGuidance, Branch, GuidanceScales
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.sampling.settings import Settings
from tests.infinitetalk.parity.conditioning import boxes_of, buckets_of, load_clip, load_vae
from tests.infinitetalk.parity.golden import GoldenFile, assert_close
from tests.infinitetalk.parity.transformer import load_dit

FORCED_LATENTS, FORCED_VIDEO, UNBROKEN_LATENTS, UNBROKEN_VIDEO = 3e-4, 5e-4, 5e-3, 2e-2


@cache
def encoders_of(weights: Path) -> dict[str, Any]:
    """Runs do not change them, and most runs have the same."""
    golden = GoldenFile(weights)
    return {
        "vae": load_vae(golden.facts["vae_config"], golden.under("vae/"), golden.name),
        "image_encoder": load_clip(golden.facts["clip_config"], golden.under("clip/"), golden.name),
    }


class RecordingPipeline(InfiniteTalkPipeline):
    """Remembers each chunk's latents, and the prompts are data."""

    def __init__(self, golden: GoldenFile) -> None:
        weights = GoldenFile(golden.path.parent / golden.facts["weights"].replace(".safetensors", ".json"))
        super().__init__(
            transformer=load_dit(weights.facts["dit_config"], weights.under("dit/"), golden.name),
            **encoders_of(weights.path),
            text_encoder=lambda prompt: golden.tensors[f"in/{prompt}"],
            buckets={"480p": buckets_of(golden)},
        )
        self.latents: dict[int, torch.Tensor] = {}
        self.computed = 0  # passes in which the blocks ran
        self.transformer.blocks[0].register_forward_hook(self._count)

    def _count(self, *_) -> None:
        self.computed += 1

    def denoise(self, inputs: ChunkInputs, *arguments) -> torch.Tensor:
        self.latents[inputs.index] = super().denoise(inputs, *arguments)
        return self.latents[inputs.index]


class Frames:
    def __init__(self, frames: torch.Tensor) -> None:
        self.is_still = len(frames) == 1
        self._frames = frames.numpy()
        self.asked: list[int] = []

    def frame(self, number: int):
        self.asked.append(number)
        return self._frames[min(number, len(self._frames) - 1)]


def settings_of(case: dict) -> Settings:
    return Settings(
        num_inference_steps=case["steps"],
        flow_shift=case["shift"],
        keep_idle_steps=True,
        text_guidance_scale=case["text_scale"],
        audio_guidance_scale=case["audio_scale"],
        projected_guidance=AdaptiveProjectedGuidance(*case["apg"]) if case["apg"] else None,
        color_correction_strength=case["color"],
        teacache_threshold=case.get("teacache"),
        num_frames_per_chunk=case["frame_num"],
        motion_frames=case["motion_frame"],
    )


class Run:
    """A golden run, made by a pipeline with the reference's weights."""

    def __init__(self, golden: GoldenFile) -> None:
        self.golden = golden
        self.case = golden.facts["case"]
        self.settings = settings_of(self.case)
        self.pipeline = RecordingPipeline(golden)
        self.source = Frames(golden.tensors["in/frames_u8"])

    def chunks(self, resume: ResumePoint | None = None) -> Iterator[GeneratedChunk]:
        voices = [self.golden.tensors[f"in/audio_embedding{person + 1}"] for person in range(self.case["persons"])]
        return self.pipeline(
            source=self.source,
            audio_embeds=voices,
            prompt="context",
            negative_prompt="context_null",
            seed=self.case["seed"],
            settings=self.settings,
            num_frames=min(self.case["max_frames_num"], *(len(voice) for voice in voices)),
            speaker_boxes=boxes_of(self.case),
            resume=resume,
            draw_noise=lambda chunk, shape: self.golden.tensors[f"chunk{chunk}/in/noise"].clone().reshape(shape),
        )

    def expected(self, number: int) -> torch.Tensor:
        """The reference's latents of a chunk."""
        return self.golden.tensors[f"chunk{number}/out/latent"][None]

    @torch.no_grad()
    def resume_point(self, number: int) -> ResumePoint:
        """What the reference goes on from after a chunk."""
        frame = self.source.frame(0)
        colours = resize_and_crop(frame, nearest_bucket(*frame.shape[:2], buckets_of(self.golden)))
        video = latent_space.decode(self.pipeline.vae, self.expected(number))
        video = correct_colors(video, colours, self.settings.color_correction_strength)
        return ResumePoint(number + 1, video[:, :, -self.settings.motion_frames :])

    def check_video(self, videos: list[torch.Tensor], tolerance: float, what: str) -> None:
        """videos: of each chunk, with the frames that it takes over."""
        new = [video[0, :, self.settings.motion_frames if number else 0 :] for number, video in enumerate(videos)]
        video = torch.cat(new, dim=1)[:, : self.case["out_frames"]]
        if "out/video" in self.golden.tensors:
            assert_close(video, self.golden.tensors["out/video"], tolerance, f"video, {what}")
        else:
            expected = self.golden.tensors["out/video_first_and_last_frame"]
            assert_close(video[:, [0, -1]], expected, tolerance, f"first and last frame, {what}")

    def check_passes(self) -> None:
        """As many passes of the blocks as the reference, whose TeaCache leaves some out."""
        wanted = {
            (branch in (Branch.NO_AUDIO, Branch.UNCONDITIONAL), branch in (Branch.NO_TEXT, Branch.UNCONDITIONAL))
            for branch in GuidanceScales(self.case["text_scale"], self.case["audio_scale"]).branches()
        }
        calls = [call for call in self.case["model_calls"] if (call["null_audio"], call["null_text"]) in wanted]
        assert self.pipeline.computed == sum(call["computed"] for call in calls)


@contextmanager
def shown() -> Iterator[list[torch.Tensor]]:
    """The videos of the chunks that are made, before they are rounded to pixels."""
    videos: list[torch.Tensor] = []

    def remember(*arguments) -> torch.Tensor:
        videos.append(correct_colors(*arguments))
        return videos[-1]

    with patch.object(pipeline, "correct_colors", remember):
        yield videos


def check_run(golden: GoldenFile) -> None:
    """Each chunk by itself: it begins on what the reference's chunk before it ended with."""
    run, resume = Run(golden), None
    count, asked = run.case["chunks"], []
    with shown() as videos:
        for number in range(count):
            run.source.asked.clear()
            next(run.chunks(resume))
            asked += run.source.asked[1:]  # after the first frame, which is always needed
            assert_close(run.pipeline.latents[number], run.expected(number), FORCED_LATENTS, f"chunk {number}")
            if number + 1 < count:
                resume = run.resume_point(number)
    run.check_video(videos, FORCED_VIDEO, "chunk by chunk")
    run.check_passes()
    assert run.source.is_still or asked == run.case["source_frames_asked"]


def check_unbroken_run(golden: GoldenFile) -> None:
    """All chunks at once: small differences grow from chunk to chunk."""
    run = Run(golden)
    with shown() as videos:
        chunks = list(run.chunks())
    assert len(chunks) == run.case["chunks"]
    assert sum(len(chunk.frames) for chunk in chunks) == run.case["out_frames"]
    for number, latents in run.pipeline.latents.items():
        assert_close(latents, run.expected(number), UNBROKEN_LATENTS, f"chunk {number}, unbroken")
    run.check_video(videos, UNBROKEN_VIDEO, "unbroken")
    run.check_passes()
    assert run.source.is_still or run.source.asked[1:] == run.case["source_frames_asked"]
