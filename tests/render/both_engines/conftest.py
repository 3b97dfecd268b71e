import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.checkpoints import hub
from infinitetalk.conditioning.reference import ReferenceEncoder
from infinitetalk.server.app import ModelServer
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.runtime_options import RuntimeOptions
from infinitetalk.server.variants import Variant, VariantLoader
from render.engines.infinitetalk import InfiniteTalkEngine
from render.frame.found_faces import find_faces
from render.frame.shot import Source
from tests.infinitetalk.conftest import weights  # noqa: F401
from tests.infinitetalk.server.test_app import Web
from tests.render.both_engines.crowd import crowd_of
from tests.render.engines.conftest import SAMPLE_RATE, write_voice

CPU = torch.device("cpu")
RUNTIME = RuntimeOptions(CPU, torch.float32, torch.float32, "native", compiled=False)


@dataclass(frozen=True)
class TinyModel:
    """A real model server with a tiny random model, and what it was given."""

    socket: Path
    sizes: Path
    jobs: list[RenderJob]
    references: list[np.ndarray]  # of each chunk, the frame of the source that it starts from, after its crop

    def engine(self, *, published_sizes: bool = False) -> InfiniteTalkEngine:
        self.jobs.clear()
        self.references.clear()
        return InfiniteTalkEngine(str(self.socket), "" if published_sizes else str(self.sizes))


@pytest.fixture(scope="package")
def tiny_model(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyModel]:  # noqa: F811
    worker = ModelWorker(weights, VariantLoader(weights, [], torch.float32, CPU), RUNTIME, PLANS["resident"])
    worker.start(Variant(lora=None)).result(60)
    path = tmp_path_factory.mktemp("model") / "model.sock"
    model = TinyModel(path, weights / hub.BASE / "config.json", [], [])
    render, encode = ModelWorker.render, ReferenceEncoder.__call__

    def recorded(self, job, check, on_step):
        model.jobs.append(job)
        return render(self, job, check, on_step)

    def encoded(self, frame, size, num_frames):
        model.references.append(frame)
        return encode(self, frame, size, num_frames)

    with pytest.MonkeyPatch.context() as patch, Web(path) as web:
        patch.setattr(ModelWorker, "render", recorded)
        patch.setattr(ReferenceEncoder, "__call__", encoded)
        web.app = ModelServer(worker, on_fatal=os.abort).app
        yield model


@pytest.fixture(scope="session")
def head() -> np.ndarray:
    """A woman's head, 256 x 256: Eileen Collins, NASA, public domain. Her face is about 80 pixels wide."""
    return np.asarray(Image.fromarray(skimage.data.astronaut()[0:300, 75:375]).resize((256, 256)))


@pytest.fixture(scope="session")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of something like speech: a buzz of 120 Hz, three syllables a second, the first one at once."""
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * tone * times) / tone for tone in range(1, 20))
    return write_voice(tmp_path_factory.mktemp("voices") / "loud.wav", 0.3 * buzz * np.abs(np.cos(3 * np.pi * times)))


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voice(tmp_path_factory.mktemp("voices") / "silent.wav", np.zeros(2 * SAMPLE_RATE))


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory, head: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("crowd") / "crowd.png"
    Image.fromarray(crowd_of(head)).save(path)
    return path


@pytest.fixture(scope="session")
def found(crowd: Path) -> Source:
    return find_faces(crowd, is_video=False)
