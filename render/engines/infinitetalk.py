"""InfiniteTalk on a GPU: a client of the model server (`python -m infinitetalk serve`), which holds the networks.

The server runs on the same machine and renders ahead: while this process encodes and stores a chunk, the server already
denoises the next one.
"""

import json
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgpack
import numpy as np

from infinitetalk.buckets import PUBLISHED_SIZES, Sizes, plan_chunks
from infinitetalk.presets import PRESETS
from render.engines.base import (
    FPS,
    Checkpoint,
    EngineStatus,
    FrameRange,
    RenderedSegment,
    RenderInputs,
    RenderLease,
    RenderPlan,
)
from render.engines.model_server_errors import Message, ServerLost, raise_reported
from render.frame.shot import Shot
from render.parameters import Parameters

TEACACHE_FROM_STEPS = 20  # With fewer steps, neighbouring ones differ too much for TeaCache to leave any out.
TEACACHE_THRESHOLD = PRESETS["quality"].teacache_threshold
PATIENCE_SECONDS = 120.0  # How long a server that restarts is waited for.
LOSSES_IN_A_ROW = 3  # The attempt fails after so many losses of the server without a chunk in between.
SILENCE_SECONDS = 30.0  # A server that works sends a message each second.
EXTENSIONS_PER_LEASE = 3  # The server is told of a renewed lease so often in its time.


class InfiniteTalkEngine:
    name = "infinitetalk"
    min_audio_seconds = 0.5

    def __init__(self, socket: str, sizes: str = "") -> None:
        """socket: path of the model server's socket. sizes: path of the config.json of the server's base model, only if
        that is a tiny checkpoint with other sizes than the published ones, see `infinitetalk.buckets.Sizes`.
        """
        self._client = httpx.Client(
            # A unix socket has no TLS, and to read the trusted authorities takes 30 ms.
            transport=httpx.HTTPTransport(uds=socket, verify=False),
            base_url="http://model-server",
            timeout=httpx.Timeout(10, read=SILENCE_SECONDS),
        )
        self._sizes = Sizes.of_checkpoint(json.loads(Path(sizes).read_text())) if sizes else PUBLISHED_SIZES

    def status(self) -> EngineStatus:
        try:
            health = self._client.get("/health").raise_for_status().json()
        except httpx.HTTPError:
            return EngineStatus(available=False, model_state="down")
        return EngineStatus(
            available=health["state"] != "loading",  # Meanwhile another node may be ready for the render.
            model_state=health["state"],
            gpu=health["gpu"],
            memory_plan=health["plan"],
            unloadable=health["unloadable"],
        )

    def pixels(self, resolution: str) -> int:
        return self._sizes.pixels(resolution)

    def plan(self, inputs: RenderInputs, parameters: Parameters, shot: Shot) -> RenderPlan:
        """The chunks, computed without the model, which may be on another machine.

        Unlike the draft, this engine accepts a source in which `FaceFinder` finds no face: the model also animates
        drawings, statues and faces in profile, which the finder does not know.
        """
        height, width = shot.size
        num_frames = parameters.frame_num or max(1, round(_seconds(inputs.voices[0]) * FPS))
        chunks = plan_chunks(
            num_frames,
            num_frames_per_chunk=self._sizes.num_frames_per_chunk,
            motion_frames=self._sizes.motion_frames,
        )
        return RenderPlan(
            width,
            height,
            num_frames,
            tuple(FrameRange(chunk.start + chunk.keep_from, min(chunk.stop, num_frames)) for chunk in chunks),
            variant=_variant(parameters, len(shot.regions) or len(inputs.voices)),
            crop=shot.crop,
            regions=shot.regions,
        )

    def segments(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        resume: Checkpoint | None,
        lease: RenderLease,
    ) -> Iterator[RenderedSegment]:
        """Yield the chunks in order. If the server ends meanwhile, wait for it and resume after the last chunk."""
        variant = _variant(parameters, len(plan.regions) or len(inputs.voices))
        checkpoint, losses = resume, 0
        while checkpoint is None or checkpoint.next_segment < len(plan.segments):
            try:
                job = self._job(inputs, parameters, plan, checkpoint, lease)
                for segment in self._stream(job, variant, len(plan.segments), lease):
                    checkpoint, losses = segment.checkpoint, 0
                    yield segment
            except (httpx.TransportError, ServerLost) as lost:
                lease.check()
                losses += 1
                if losses == LOSSES_IN_A_ROW:
                    raise ServerLost(f"The model server was lost {losses} times in a row") from lost
                self._wait_for_server(lease)

    def _stream(self, job: Message, variant: str, num_segments: int, lease: RenderLease) -> Iterator[RenderedSegment]:
        """Send one job and yield its chunks. Raises ServerLost and httpx.TransportError when the server is lost."""
        unpacker = msgpack.Unpacker(max_buffer_size=0)  # A chunk in 720p is larger than its default of 100 MB.
        extended_at, lease_seconds = time.monotonic(), job["lease_seconds"]
        with self._client.stream("POST", "/renders", content=msgpack.packb(job)) as response:
            if response.is_error:
                raise_reported(msgpack.unpackb(response.read()), variant)
            for block in response.iter_raw():
                unpacker.feed(block)
                for message in unpacker:
                    if message["type"] == "error":
                        raise_reported(message, variant)
                    if message["type"] == "step":
                        done = message["chunk"] + message["step"] / message["steps"]
                        lease.report(done / num_segments)
                    if message["type"] == "chunk":
                        yield _segment(message)
                lease.check()  # If it raises, the connection ends, and with it the server's work within one step.
                if time.monotonic() - extended_at > lease_seconds / EXTENSIONS_PER_LEASE:
                    extended_at, lease_seconds = time.monotonic(), lease.seconds_left()
                    self._extend(lease, lease_seconds)

    def _extend(self, lease: RenderLease, lease_seconds: float) -> None:
        """Tell the server that the lease is renewed. Without this it gives the render up: the worker may be frozen."""
        self._client.post(
            f"/renders/{lease.render_id}/{lease.attempt}", content=msgpack.packb({"lease_seconds": lease_seconds})
        )

    def _wait_for_server(self, lease: RenderLease) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.status().model_state == "down":
            lease.check()
            if time.monotonic() > deadline:
                raise ServerLost(f"No model server answered for {PATIENCE_SECONDS:g} s")
            time.sleep(0.5)

    def _job(
        self,
        inputs: RenderInputs,
        parameters: Parameters,
        plan: RenderPlan,
        checkpoint: Checkpoint | None,
        lease: RenderLease,
    ) -> Message:
        teacache = parameters.preset == "quality" and parameters.sample_steps >= TEACACHE_FROM_STEPS
        return {
            "render_id": str(lease.render_id),
            "attempt": lease.attempt,
            "lease_seconds": lease.seconds_left(),
            "source": str((inputs.portrait or inputs.video or Path()).resolve()),
            "voices": [str(voice.resolve()) for voice in inputs.voices],
            "prompt": inputs.prompt,
            "seed": parameters.seed,
            "size": [plan.height, plan.width],
            "crop": list(plan.crop) if plan.crop else None,
            "speaker_boxes": plan.regions or None,
            "video_end": parameters.video_end,
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
    """The model server's name for the variant, see `infinitetalk.server.variants`."""
    # "scaled": not from a merged file, which has its LoRA at full strength.
    scaled = "-scaled" if parameters.lora_scale not in (0, 1) else ""
    return f"{speakers}-{_lora(parameters) or 'none'}{scaled}"


def _seconds(voice: Path) -> float:
    with wave.open(str(voice)) as file:
        seconds: float = file.getnframes() / file.getframerate()
    return seconds
