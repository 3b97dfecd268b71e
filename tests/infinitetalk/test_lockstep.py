"""Two processes (gloo, on the CPU) serve together: the frames of one, and an end for both."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.checkpoints import hub
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.variants import Variant, VariantLoader
from tests.infinitetalk.test_serve import ENVIRONMENT, client_of, wait_until_ready
from tests.infinitetalk.test_server import SETTINGS, job
from tests.infinitetalk.test_warm_model import CPU, RUNTIME, frames, render

LORAS = ("fast", "standard")


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    """A copy of the weights, with a bad file for each preset: one is cut off, of the other only loading finds it."""
    shutil.copytree(weights, tmp_path / "weights")
    fast, standard = (hub.lora_file(tmp_path / "weights", hub.PRESET_LORAS[name]) for name in LORAS)
    os.truncate(fast, fast.stat().st_size // 2)
    save_file({"conv.weight": torch.ones(3)}, standard)
    return tmp_path / "weights"


@pytest.fixture
def group(folder: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    serve = ["-m", "infinitetalk", "serve", "--socket", str(tmp_path / "model.sock"), "--weights", str(folder)]
    process = subprocess.Popen(
        [*torchrun, *serve, "--dtype=float32", "--lora=none", "--device=cpu"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def stream(socket: Path, given: dict) -> Iterator[dict]:
    unpacker = msgpack.Unpacker()
    with client_of(socket).stream("POST", "/renders", content=msgpack.packb(given)) as response:
        for piece in response.iter_raw():
            unpacker.feed(piece)
            yield from unpacker


def test_two_processes_render_what_one_does_stop_together_and_end_together(
    group, weights, portrait, voice, tmp_path
) -> None:
    socket = tmp_path / "model.sock"
    given = job(
        source=str(portrait), voices=[str(voice)], size=[80, 80], settings={**SETTINGS, "num_inference_steps": 2}
    )
    alone = ModelWorker(weights, VariantLoader(weights, [], torch.float32, CPU), RUNTIME, PLANS["resident"])
    alone.start(Variant(lora=None)).result(60)
    expected = frames(render(alone, RenderJob.from_message(given)))
    wait_until_ready(socket, group)

    def film() -> np.ndarray:
        chunks = [message for message in stream(socket, given) if message["type"] == "chunk"]
        return np.concatenate([np.frombuffer(made["frames"], np.uint8).reshape(made["shape"]) for made in chunks])

    # The processes add up in another order than one alone.
    assert np.abs(film().astype(int) - expected).max() <= 1

    # A client that goes away in the middle of a chunk, and one that goes away between two.
    endless = {**given, "settings": {**SETTINGS, "num_inference_steps": 10_000}}
    assert next(message for message in stream(socket, endless) if message["type"] == "step")
    assert next(message for message in stream(socket, given) if message["type"] == "chunk")["index"] == 0
    broken = {**given, "source": str(tmp_path / "nothing.png")}
    assert [message["code"] for message in stream(socket, broken) if message["type"] == "error"]
    assert np.abs(film().astype(int) - expected).max() <= 1

    # Bad files of the model, which both find.
    for lora in LORAS:
        [said] = [message for message in stream(socket, {**given, "lora": lora}) if message["type"] == "error"]
        assert said["code"] == "model_file_missing"
    assert {"1-fast", "1-standard"} <= client_of(socket).get("/health").json()["unloadable"].keys()
    assert np.abs(film().astype(int) - expected).max() <= 1

    # One that dies takes the other with it.
    workers = [child for child in psutil.Process(group.pid).children() if "infinitetalk" in child.cmdline()]
    assert len(workers) == 2
    follower = next(worker for worker in workers if worker.environ()["RANK"] == "1")
    follower.kill()
    group.communicate(timeout=60)
    assert group.returncode != 0
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
