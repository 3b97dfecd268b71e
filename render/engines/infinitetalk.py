"""InfiniteTalk on a GPU: a thin client of the model server (`python -m infinitetalk serve`), which holds the networks.

The server runs on the same machine and renders ahead: while this process encodes and stores a chunk, the next one is
denoised.
"""

import json
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np

from accounts.errors import PROBLEM_TYPES, ServiceError
from infinitetalk.buckets import PUBLISHED_SIZES, Sizes, nearest_bucket, plan_chunks
from infinitetalk.presets import PRESETS
from render.engines.base import FPS, Checkpoint, EngineStatus, FrameRange, Hold, Plan, RenderedSegment, RenderInputs
from render.engines.frame_size import source_size
from render.engines.framing import crop_with_faces
from render.node_faults import NodeFault
from render.parameters import Parameters

# Below some ten steps neighbouring ones differ too much for TeaCache to leave any out.
TEACACHE_FROM_STEPS = 20
TEACACHE_THRESHOLD = PRESETS["quality"].teacache_threshold
PATIENCE_SECONDS = 120.0  # with a server that starts anew
LOSSES_IN_A_ROW = 3  # of the server, without a chunk in between, before this attempt is given up
SILENCE_SECONDS = 30.0  # A server that lives says something each second.
EXTENSIONS_PER_LEASE = 3

Message = dict[str, Any]


class ServerLost(Exception):
    """The model server has died, or is about to."""


class InfiniteTalkEngine:
    name = "infinitetalk"
    min_audio_seconds = 0.5

    def __init__(self, socket: str, sizes: str = "") -> None:
        """socket: of the model server. sizes: the config.json of the server's base model, only if it is a tiny
        checkpoint with other sizes than the published ones, see `infinitetalk.buckets.Sizes`.
        """
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket),
            base_url="http://model-server",
            timeout=httpx.Timeout(10, read=SILENCE_SECONDS),
        )
        self._sizes = Sizes.of_checkpoint(json.loads(Path(sizes).read_text())) if sizes else PUBLISHED_SIZES

    def status(self) -> EngineStatus:
        try:
            health = self._client.get("/health").raise_for_status().json()
        except httpx.HTTPError:
            return EngineStatus(available=False, model_state="down")
        state = health["state"]
        # While it loads, another node may be ready for the render.
        available = state != "loading"
        return EngineStatus(
            available,
            model_state=state,
            gpu=health["gpu"],
            memory_plan=health["plan"],
            unloadable=health.get("unloadable", {}),  # An older server does not look.
        )

    def plan(self, inputs: RenderInputs, parameters: Parameters) -> Plan:
        """Size and chunks, computed without the model: it may be on another machine."""
        height, width = nearest_bucket(*source_size(inputs), self._sizes.buckets[parameters.resolution])
        num_frames = parameters.frame_num or max(1, round(_seconds(inputs.voices[0]) * FPS))
        chunks = plan_chunks(
            num_frames,
            num_frames_per_chunk=self._sizes.num_frames_per_chunk,
            motion_frames=self._sizes.motion_frames,
        )
        segments = tuple(FrameRange(chunk.start + chunk.keep_from, min(chunk.stop, num_frames)) for chunk in chunks)
        variant = _variant(parameters, len(inputs.voices))
        crop = crop_with_faces(inputs, height, width)
        return Plan(width, height, num_frames, segments, variant=variant, crop=crop)

    def segments(
        self, inputs: RenderInputs, parameters: Parameters, plan: Plan, resume: Checkpoint | None, hold: Hold
    ) -> Iterator[RenderedSegment]:
        """Yield the chunks in order. A server that dies meanwhile is waited for, and goes on after the last chunk."""
        checkpoint, losses = resume, 0
        while checkpoint is None or checkpoint.next_segment < len(plan.segments):
            try:
                for segment in self._stream(inputs, parameters, plan, checkpoint, hold):
                    checkpoint, losses = segment.checkpoint, 0
                    yield segment
            except (httpx.TransportError, ServerLost) as lost:
                hold.check()
                losses += 1
                if losses == LOSSES_IN_A_ROW:
                    raise ServerLost(f"The model server was lost {losses} times in a row") from lost
                self._wait_for_server(hold)

    def _stream(
        self, inputs: RenderInputs, parameters: Parameters, plan: Plan, checkpoint: Checkpoint | None, hold: Hold
    ) -> Iterator[RenderedSegment]:
        job = self._job(inputs, parameters, plan, checkpoint, hold)
        variant = _variant(parameters, len(inputs.voices))
        unpacker = msgpack.Unpacker(max_buffer_size=0)  # A chunk in 720p is larger than its default of 100 MB.
        told, lease_seconds = time.monotonic(), job["lease_seconds"]
        with self._client.stream("POST", "/renders", content=msgpack.packb(job)) as response:
            if response.is_error:
                raise _failure(msgpack.unpackb(response.read()), variant)
            for piece in response.iter_raw():
                unpacker.feed(piece)
                for message in unpacker:
                    if message["type"] == "error":
                        raise _failure(message, variant)
                    if message["type"] == "step":
                        # The server leaves out steps that change nothing; an older one says nothing of them.
                        steps = message.get("steps", parameters.sample_steps)
                        done = message["chunk"] + message["step"] / steps
                        hold.report(done / len(plan.segments))
                    if message["type"] == "chunk":
                        yield _segment(message)
                # The server hears of it by the connection's end, and stops within one step.
                hold.check()
                if time.monotonic() - told > lease_seconds / EXTENSIONS_PER_LEASE:
                    told, lease_seconds = time.monotonic(), hold.seconds_left()
                    self._extend(hold, lease_seconds)

    def _extend(self, hold: Hold, lease_seconds: float) -> None:
        """A server that is not told so for a while gives the render up: its worker may be frozen."""
        self._client.post(
            f"/renders/{hold.render_id}/{hold.attempt}", content=msgpack.packb({"lease_seconds": lease_seconds})
        )

    def _wait_for_server(self, hold: Hold) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.status().model_state == "down":
            hold.check()
            if time.monotonic() > deadline:
                raise ServerLost(f"No model server answered for {PATIENCE_SECONDS:g} s")
            time.sleep(0.5)

    def _job(
        self, inputs: RenderInputs, parameters: Parameters, plan: Plan, checkpoint: Checkpoint | None, hold: Hold
    ) -> Message:
        teacache = parameters.preset == "quality" and parameters.sample_steps >= TEACACHE_FROM_STEPS
        return {
            "render_id": str(hold.render_id),
            "attempt": hold.attempt,
            "lease_seconds": hold.seconds_left(),
            "source": str((inputs.portrait or inputs.video or Path()).resolve()),
            "voices": [str(voice.resolve()) for voice in inputs.voices],
            "prompt": inputs.prompt,
            "seed": parameters.seed,
            "size": [plan.height, plan.width],
            # Not named for the middle: a server of the version before knows only that.
            **({"crop": list(plan.crop)} if plan.crop else {}),
            "num_frames": plan.num_frames,
            "lora": _lora(parameters),
            "lora_scale": parameters.lora_scale or 1.0,
            "settings": {
                "num_inference_steps": parameters.sample_steps,
                "flow_shift": parameters.sample_shift,
                "text_guidance_scale": parameters.sample_text_guide_scale,
                "audio_guidance_scale": parameters.sample_audio_guide_scale,
                "color_correction_strength": parameters.color_correction_strength,
                "teacache_threshold": TEACACHE_THRESHOLD if teacache else None,
                "num_frames_per_chunk": self._sizes.num_frames_per_chunk,
                "motion_frames": self._sizes.motion_frames,
                "resolution": parameters.resolution,
            },
            "checkpoint": checkpoint.state if checkpoint else None,
        }


def _segment(message: Message) -> RenderedSegment:
    frames = np.frombuffer(message["frames"], np.uint8).reshape(message["shape"])
    index = message["index"]
    return RenderedSegment(index, frames, Checkpoint(next_segment=index + 1, state=message["checkpoint"]))


def _lora(parameters: Parameters) -> str | None:
    if not parameters.lora_scale:
        return None
    return "fast" if parameters.preset == "fast" else "standard"


def _variant(parameters: Parameters, speakers: int) -> str:
    """As the model server calls it, see `infinitetalk.server.variants`."""
    # A merged file holds a LoRA at full strength only.
    scaled = "-scaled" if parameters.lora_scale not in (0, 1) else ""
    return f"{speakers}-{_lora(parameters) or 'none'}{scaled}"


def _failure(message: Message, variant: str) -> Exception:
    """What an error of the model server means for the render."""
    code, detail = message["code"], message["detail"]
    if code in ("gpu_failed", "aborted"):
        return ServerLost(detail)
    if code == "model_file_missing":
        return NodeFault(f"The model server: {detail}", variant=variant)
    if code in ("machine_failed", "file_unreadable"):
        return NodeFault(f"The model server: {detail}")
    if code == "gpu_out_of_memory":
        return ServiceError(code, "The GPU has too little memory for this render.")
    if code in ("image_invalid", "video_invalid"):
        return ServiceError(code, PROBLEM_TYPES[code].title + ".", param="image_url")
    if code in ("audio_invalid", "audio_empty"):
        return ServiceError(code, PROBLEM_TYPES[code].title + ".", param="audio_url")
    return RuntimeError(f"The model server answered {code}: {detail}")


def _seconds(voice: Path) -> float:
    with wave.open(str(voice)) as file:
        seconds: float = file.getnframes() / file.getframerate()
    return seconds
