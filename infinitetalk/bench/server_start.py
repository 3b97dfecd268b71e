"""Cold and warm start of the model server, measured by a client."""

import contextlib
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
from PIL import Image

from infinitetalk.bench.report import ServerStart
from infinitetalk.conditioning.audio import SAMPLE_RATE
from infinitetalk.errors import InfiniteTalkError
from infinitetalk.sampling.settings import Settings

PATIENCE_SECONDS = 900.0
SECONDS_OF_VOICE = 5


def measure_server_start(
    weights: Path, *, options: Sequence[str], settings: Settings, size: tuple[int, int], lora: str | None
) -> ServerStart:
    """options: more arguments of `serve`. Raises InfiniteTalkError `server_failed`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        socket = folder / "model.sock"
        command = [sys.executable, "-m", "infinitetalk", "serve", "--weights", str(weights), "--socket", str(socket)]
        start = time.perf_counter()
        process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
        try:
            client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://server", timeout=60)
            _wait_until_ready(client, process)
            ready = time.perf_counter() - start
            job = _job(folder, settings, size, lora)
            _to_first_step(client, {**job, "render_id": "first"})
            cold = time.perf_counter() - start
            sent = time.perf_counter()
            _to_first_step(client, {**job, "render_id": "second"})
            return ServerStart(ready, cold, time.perf_counter() - sent)
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise InfiniteTalkError("server_failed", f"The model server ended with status {process.returncode}.")
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").json()["state"] == "ready":
                return
        time.sleep(0.02)
    raise InfiniteTalkError("server_failed", f"The model server was not ready after {PATIENCE_SECONDS:g} s.")


def _to_first_step(client: httpx.Client, job: dict[str, Any]) -> None:
    unpacker = msgpack.Unpacker()
    with client.stream("POST", "/renders", content=msgpack.packb(job)) as response:
        for piece in response.iter_raw():
            unpacker.feed(piece)
            for message in unpacker:
                if message["type"] == "step":
                    return
                if message["type"] == "error":
                    raise InfiniteTalkError("server_failed", f"{message['code']}: {message['detail']}")
    raise InfiniteTalkError("server_failed", "The model server refused the job.")


def _job(folder: Path, settings: Settings, size: tuple[int, int], lora: str | None) -> dict[str, Any]:
    height, width = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(image).save(folder / "image.png")
    samples = np.random.default_rng(0).normal(0, 3000, SECONDS_OF_VOICE * SAMPLE_RATE).astype("<i2")
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return {
        "attempt": 1,
        "lease_seconds": PATIENCE_SECONDS,
        "source": str(folder / "image.png"),
        "voices": [str(folder / "voice.wav")],
        "prompt": "A person is talking.",
        "seed": 0,
        "size": [height, width],
        "num_frames": settings.num_frames_per_chunk,
        "lora": lora,
        "lora_scale": 1.0,
        "settings": {
            name: value
            for name, value in asdict(replace(settings, projected_guidance=None)).items()
            if name != "projected_guidance"
        },
        "checkpoint": None,
    }
