import wave
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from django.db import transaction
from PIL import Image

from accounts.models import Tenant
from render.fence import Claim
from render.lifecycle import submission, transitions
from render.machine import nodes
from render.models import Render
from render.parameters import Parameters


def write_voice(path: Path, seconds: float) -> Path:
    times = np.arange(int(seconds * 16_000)) / 16_000
    samples = (8000 * np.sin(2 * np.pi * 220 * times)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A customer's web server on loopback: its folder and its base URL."""
    folder = tmp_path_factory.mktemp("site")
    Image.new("RGB", (320, 240), "teal").save(folder / "picture.png")
    write_voice(folder / "voice.wav", 4)
    write_voice(folder / "other-voice.wav", 2)
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *arguments: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture
def enqueue(acme: Tenant, site, settings) -> Callable[..., Render]:
    """Make a queued render; anything may be overridden."""
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    base_url, _ = site

    def make(
        *, parameters: Parameters | None = None, deadlines: submission.Deadlines = submission.NO_DEADLINES, **overrides
    ) -> Render:
        fields = {
            "tenant": acme,
            "engine": "instant",
            "image_url": f"{base_url}/picture.png",
            "audio_url": f"{base_url}/voice.wav",
            "parameters": (parameters or Parameters(seed=1)).as_json(),
        }
        render = Render(**{**fields, **overrides})
        with transaction.atomic():
            submission.submit(render, api_key=None, is_test=False, deadlines=deadlines)
        return render

    return make


@pytest.fixture
def claim(db) -> Callable[..., Claim | None]:
    def take(queue: str = "cpu") -> Claim | None:
        return transitions.claim_next(queue, nodes.heartbeat(queue))

    return take
