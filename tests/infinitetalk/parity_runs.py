"""Checks of whole runs of the sampling loop, with the reference's own noise."""

from collections.abc import Iterator

import torch

from infinitetalk.buckets import nearest_bucket
from infinitetalk.conditioning import vae as latent_space
from infinitetalk.conditioning.chunk_inputs import ChunkInputs
from infinitetalk.conditioning.image import resize_and_crop
from infinitetalk.pipeline import InfiniteTalkPipeline
from infinitetalk.sampling.color_match import correct_colors
from infinitetalk.sampling.guidance import AdaptiveProjectedGuidance, Branch, GuidanceScales
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.sampling.settings import Settings
from tests.infinitetalk.golden import GoldenFile, assert_close
from tests.infinitetalk.parity_conditioning import boxes_of, buckets_of, load_clip, load_vae
from tests.infinitetalk.parity_transformer import load_dit

FORCED_LATENTS, FORCED_VIDEO, UNBROKEN_LATENTS, UNBROKEN_VIDEO = 3e-4, 5e-4, 5e-3, 2e-2


class RecordingPipeline(InfiniteTalkPipeline):
    """Remembers each chunk's latents, and the prompts are data."""

    def __init__(self, golden: GoldenFile) -> None:
        weights = GoldenFile(golden.path.parent / golden.facts["weights"].replace(".safetensors", ".json"))
        super().__init__(
            transformer=load_dit(weights.facts["dit_config"], weights.under("dit/"), golden.name),
            vae=load_vae(weights.facts["vae_config"], weights.under("vae/"), golden.name),
            image_encoder=load_clip(weights.facts["clip_config"], weights.under("clip/"), golden.name),
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


def check_run(golden: GoldenFile) -> None:
    case = golden.facts["case"]
    pipeline, settings = RecordingPipeline(golden), settings_of(case)
    source = Frames(golden.tensors["in/frames_u8"])
    frame = source.frame(0)
    colours = resize_and_crop(frame, nearest_bucket(*frame.shape[:2], buckets_of(golden)))
    voices = [golden.tensors[f"in/audio_embedding{person + 1}"] for person in range(case["persons"])]

    def run(resume: ResumePoint | None = None) -> Iterator:
        return pipeline(
            source=source,
            audio_embeds=voices,
            prompt="context",
            negative_prompt="context_null",
            seed=case["seed"],
            settings=settings,
            num_frames=min(case["max_frames_num"], *(len(voice) for voice in voices)),
            speaker_boxes=boxes_of(case),
            resume=resume,
            draw_noise=lambda chunk, shape: golden.tensors[f"chunk{chunk}/in/noise"].clone().reshape(shape),
        )

    def shown(latents: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            video = latent_space.decode(pipeline.vae, latents)
        return correct_colors(video, colours, settings.color_correction_strength)

    # Forced: each chunk begins on what the reference's chunk before it ended with.
    pieces, resume = [], None
    for number in range(case["chunks"]):
        next(run(resume))
        expected = golden.tensors[f"chunk{number}/out/latent"][None]
        assert_close(pipeline.latents[number], expected, FORCED_LATENTS, f"chunk {number}, forced")
        pieces.append(shown(pipeline.latents[number])[0, :, settings.motion_frames if number else 0 :])
        resume = ResumePoint(number + 1, shown(expected)[:, :, -settings.motion_frames :])
    check_video(golden, torch.cat(pieces, dim=1)[:, : case["out_frames"]], FORCED_VIDEO, "forced")

    # Unbroken: small differences grow from chunk to chunk.
    pipeline.latents.clear()
    pipeline.computed = 0
    source.asked.clear()
    chunks = list(run())
    assert len(chunks) == case["chunks"]
    assert sum(len(chunk.frames) for chunk in chunks) == case["out_frames"]
    pieces = []
    for number, latents in pipeline.latents.items():
        expected = golden.tensors[f"chunk{number}/out/latent"][None]
        assert_close(latents, expected, UNBROKEN_LATENTS, f"chunk {number}, unbroken")
        pieces.append(shown(latents)[0, :, settings.motion_frames if number else 0 :])
    check_video(golden, torch.cat(pieces, dim=1)[:, : case["out_frames"]], UNBROKEN_VIDEO, "unbroken")
    wanted = {
        (branch in (Branch.NO_AUDIO, Branch.UNCONDITIONAL), branch in (Branch.NO_TEXT, Branch.UNCONDITIONAL))
        for branch in GuidanceScales(case["text_scale"], case["audio_scale"]).branches()
    }
    made = [call["computed"] for call in case["model_calls"] if (call["null_audio"], call["null_text"]) in wanted]
    assert pipeline.computed == sum(made)
    if not source.is_still:
        assert source.asked[1:] == case["source_frames_asked"]


def check_video(golden: GoldenFile, video: torch.Tensor, tolerance: float, what: str) -> None:
    if "out/video" in golden.tensors:
        assert_close(video, golden.tensors["out/video"], tolerance, f"video, {what}")
    else:
        expected = golden.tensors["out/video_first_and_last_frame"]
        assert_close(video[:, [0, -1]], expected, tolerance, f"first and last frame, {what}")
