"""Two processes (gloo, on the CPU) serve together: the frames of one, and an end for both."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

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
from tests.infinitetalk import forked
from tests.infinitetalk.conftest import CHUNKS, FRAMES
from tests.infinitetalk.server.test_app import SETTINGS, job
from tests.infinitetalk.server.test_command import client_of, serve, wait_until_ready
from tests.infinitetalk.server.test_model import CPU, RUNTIME, frames, render

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
def group(folder: Path, tmp_path: Path) -> Iterator[list[BaseProcess]]:
    """Two model servers with the environment variables that torchrun gives them; the first one leads."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    arguments = serve(tmp_path / "model.sock", folder)
    processes = [
        forked.start(arguments, tmp_path / f"said-{rank}", RANK=str(rank), LOCAL_RANK=str(rank), **together)
        for rank in range(2)
    ]
    yield processes
    for process in processes:
        process.kill()
        process.join()


@pytest.fixture
def torchrun(weights: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "infinitetalk", *serve(tmp_path / "model.sock", weights)]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stderr=said, start_new_session=True)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def given(portrait: Path, voice: Path) -> dict[str, Any]:
    settings = {**SETTINGS, **CHUNKS, "num_inference_steps": 2}
    return job(source=str(portrait), voices=[str(voice)], size=[48, 32], num_frames=FRAMES, settings=settings)


@pytest.fixture
def expected(weights: Path, given: dict[str, Any]) -> np.ndarray:
    """What one process makes."""
    alone = ModelWorker(weights, VariantLoader(weights, [], torch.float32, CPU), RUNTIME, PLANS["resident"])
    alone.start(Variant(lora=None)).result(60)
    return frames(render(alone, RenderJob.from_message(given)))


def stream(server: Path, given: dict) -> Iterator[dict]:
    unpacker = msgpack.Unpacker()
    with client_of(server).stream("POST", "/renders", content=msgpack.packb(given)) as response:
        for piece in response.iter_raw():
            unpacker.feed(piece)
            yield from unpacker


def film(server: Path, given: dict[str, Any]) -> np.ndarray:
    chunks = [message for message in stream(server, given) if message["type"] == "chunk"]
    return np.concatenate([np.frombuffer(made["frames"], np.uint8).reshape(made["shape"]) for made in chunks])


def same(made: np.ndarray, expected: np.ndarray) -> bool:
    """The processes add up in another order than one alone."""
    return np.abs(made.astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_two_processes_render_what_one_does_stop_together_and_end_together(group, given, expected, tmp_path) -> None:
    leader, _ = group
    server = tmp_path / "model.sock"
    wait_until_ready(server, leader.is_alive, tmp_path / "said-0")
    assert same(film(server, given), expected)

    # A client that goes away in the middle of a chunk, and one that goes away between two.
    endless = {**given, "settings": {**given["settings"], "num_inference_steps": 10_000}}
    assert next(message for message in stream(server, endless) if message["type"] == "step")
    assert next(message for message in stream(server, given) if message["type"] == "chunk")["index"] == 0
    broken = {**given, "source": str(tmp_path / "nothing.png")}
    assert [message["code"] for message in stream(server, broken) if message["type"] == "error"]
    assert same(film(server, given), expected)

    # Bad files of the model, which both find.
    for lora in LORAS:
        [said] = [message for message in stream(server, {**given, "lora": lora}) if message["type"] == "error"]
        assert said["code"] == "model_file_missing"
    assert {"1-fast", "1-standard"} <= client_of(server).get("/health").json()["unloadable"].keys()
    assert same(film(server, given), expected)

    # When the leader ends, so does the other one, though nobody tells it to.
    os.kill(leader.pid, signal.SIGTERM)
    for process in group:
        process.join(60)
    assert [process.exitcode for process in group] == [0, 0]


@pytest.mark.slow
def test_under_torchrun_one_that_dies_takes_the_other_with_it(torchrun, given, expected, tmp_path) -> None:
    server = tmp_path / "model.sock"
    wait_until_ready(server, lambda: torchrun.poll() is None, tmp_path / "said")
    assert same(film(server, given), expected)

    workers = [child for child in psutil.Process(torchrun.pid).children() if "infinitetalk" in child.cmdline()]
    assert len(workers) == 2
    follower = next(worker for worker in workers if worker.environ()["RANK"] == "1")
    follower.kill()
    torchrun.wait(60)
    assert torchrun.returncode != 0
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
