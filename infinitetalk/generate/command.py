"""`python -m infinitetalk generate`: an image (or a video) and a voice in, an mp4 out."""

import argparse
import dataclasses
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from infinitetalk.acceleration.attention_backends import require_attention, use_attention
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.load_transformer import LoraFile
from infinitetalk.checkpoints.pipeline_from_files import load_pipeline, sized
from infinitetalk.conditioning.audio import AudioOrder, arrange_voices, load_voice
from infinitetalk.conditioning.source import open_source
from infinitetalk.conditioning.text_encoder import NEGATIVE_PROMPT
from infinitetalk.errors import InvalidInput
from infinitetalk.generate.chunk_files import ChunkFolder
from infinitetalk.presets import PRESETS, WITHOUT_PRESET
from infinitetalk.sampling.settings import Settings
from infinitetalk.video_end import VIDEO_ENDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="the folder of `download`")
    parser.add_argument("--merged", type=Path, help="a file of `merge`, used instead of the transformer in the folder")
    parser.add_argument("--image", type=Path, required=True, help="a portrait, or a video to dub")
    parser.add_argument("--audio", type=Path, required=True, help="the voice; with two people, of the one on the left")
    parser.add_argument("--audio-2", type=Path, help="the voice of the person on the right")
    parser.add_argument("--audio-order", choices=get_args(AudioOrder), default="left_right")
    parser.add_argument("--prompt", default="A person is talking.")
    parser.add_argument("--negative-prompt", default=NEGATIVE_PROMPT)
    parser.add_argument(
        "--box",
        type=_box,
        action="append",
        nargs="+",
        help="ROW,COLUMN,ROW,COLUMN of a speaker, one box or more; once for each voice",
    )
    parser.add_argument(
        "--video-end", choices=VIDEO_ENDS, default="hold", help="what a video that is shorter than the voice shows then"
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--preset", choices=sorted(PRESETS), help="several settings at once; an explicit one wins")
    parser.add_argument("--lora", type=Path, action="append", default=[], help="another LoRA file")
    parser.add_argument("--lora-scale", type=float, default=1.0)
    parser.add_argument("--resolution", choices=("480p", "720p"), default="480p")
    parser.add_argument("--sample-steps", type=int, dest="num_inference_steps")
    parser.add_argument("--sample-shift", type=float, dest="flow_shift")
    parser.add_argument("--sample-text-guide-scale", type=float, dest="text_guidance_scale")
    parser.add_argument("--sample-audio-guide-scale", type=float, dest="audio_guidance_scale")
    parser.add_argument("--color-correction-strength", type=float)
    parser.add_argument("--teacache-threshold", type=float)
    parser.add_argument("--frame-num", type=int, help="forced number of frames, 4n+1")
    parser.add_argument("--seed", type=int, help="default: drawn at random and printed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--attention", help="a backend of diffusers: native (default), flash, _flash_3, sage, ...")
    parser.add_argument(
        "--chunks", type=Path, help="keep finished chunks here; the same command goes on after the last"
    )
    parser.add_argument("--stop-after", type=int, help="stop after this chunk, to continue later (needs --chunks)")


def run(options: argparse.Namespace) -> int:
    if options.stop_after is not None and options.chunks is None:
        raise InvalidInput("chunks_needed", "--stop-after needs --chunks: without it the chunks would be lost.")
    if options.attention:
        require_attention(options.attention)  # before the minutes that loading takes
    disable_progress_bar()  # of loading; our own progress shows the chunks
    settings = sized(settings_of(options), options.weights)
    paths = [path for path in (options.audio, options.audio_2) if path]
    voices = arrange_voices([load_voice(path) for path in paths], options.audio_order)
    source = open_source(options.image, video_end=options.video_end)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"Seed {seed}; loading ...", flush=True)

    pipeline, speech_encoder = load_pipeline(
        options.weights,
        speakers=len(voices),
        loras=loras_of(options),
        merged=options.merged,
        dtype=getattr(torch, options.dtype),
        device=options.device,
    )
    if options.attention:
        use_attention(pipeline.transformer, options.attention)
    audio_embeds = [speech_encoder(voice) for voice in voices]
    num_frames = options.frame_num or max(len(voice) for voice in audio_embeds)
    total = len(settings.plan_chunks(num_frames))

    def show_progress(chunk: int, step: int) -> None:
        print(f"\rChunk {chunk + 1} of {total}, step {step + 1} of {settings.steps_made} ", end="", flush=True)

    folder = ChunkFolder(options.chunks or options.output.with_name(f".{options.output.name}.chunks"))
    resume = folder.resume_point() if options.chunks else None
    finished = resume.next_chunk if resume else 0
    for chunk in pipeline(
        source=source,
        audio_embeds=audio_embeds,
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        seed=seed,
        settings=settings,
        num_frames=num_frames,
        speaker_boxes=options.box,
        resume=resume,
        on_step=show_progress,
    ):
        folder.save(chunk)
        finished = chunk.index + 1
        if finished == options.stop_after and finished < total:
            print(f"\nStopped after chunk {finished} of {total}. Go on with the same command and --seed {seed}.")
            return 0
    count = folder.write_video(options.output, np.sum(voices, axis=0, dtype=np.float32))
    if options.chunks is None:
        shutil.rmtree(folder.folder)
    print(f"\n{count} frames: {options.output}")
    return 0


def settings_of(options: argparse.Namespace) -> Settings:
    """The preset's settings, or the defaults; explicit options override them."""
    preset = Settings.of_preset(PRESETS.get(options.preset, WITHOUT_PRESET), options.resolution)
    names = {field.name for field in dataclasses.fields(Settings)}
    explicit = {name: value for name, value in vars(options).items() if name in names and value is not None}
    return dataclasses.replace(preset, **explicit)


def loras_of(options: argparse.Namespace) -> Sequence[LoraFile]:
    loras = [LoraFile(path, options.lora_scale) for path in options.lora]
    if options.preset in hub.PRESET_LORAS and options.merged is None:
        lora = hub.PRESET_LORAS[options.preset]
        loras.insert(0, LoraFile(hub.lora_file(options.weights, lora), options.lora_scale * lora.scale))
    return loras


def _box(text: str) -> tuple[float, ...]:
    box = tuple(float(number) for number in text.split(","))
    if len(box) != 4:
        raise argparse.ArgumentTypeError("four numbers: first row, first column, last row, last column")
    return box
