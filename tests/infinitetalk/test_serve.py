"""`python -m infinitetalk serve` as a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import msgpack
import pytest

from infinitetalk.errors import InfiniteTalkError
from infinitetalk.server.command import private_socket
from tests.infinitetalk.test_server import SETTINGS, job

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def serve(socket: Path, weights: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "infinitetalk", "serve", "--socket", str(socket), "--weights", str(weights)]
    return subprocess.Popen(
        [*command, "--dtype", "float32", "--lora", "none", *more], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )


def client_of(socket: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://server")


def wait_until_ready(socket: Path, process: "subprocess.Popen[str]") -> dict:
    client = client_of(socket)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            health = client.get("/health").json()
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if health["state"] == "ready":
            return health
    raise AssertionError(process.communicate(timeout=10)[1])


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "model.sock"


def test_a_socket_has_one_server_and_only_its_user_can_open_it(socket) -> None:
    socket.parent.mkdir()
    socket.write_text("left by a server that was killed")

    with private_socket(socket):
        assert socket.stat().st_mode & 0o777 == 0o700
        with pytest.raises(InfiniteTalkError, match="Another model server"), private_socket(socket):
            pass
        assert socket.exists()
    assert not socket.exists()


def test_it_ends_at_once_when_it_is_told_to_and_when_its_weights_are_missing(
    socket, weights, portrait, voice, tmp_path
) -> None:
    without_weights = serve(tmp_path / "other.sock", tmp_path / "nothing")
    process = serve(socket, weights)
    try:
        health = wait_until_ready(socket, process)
        assert (health["plan"], health["attention"], health["loads"]) == ("resident", "native", 1)
        endless = {**SETTINGS, "num_inference_steps": 10_000}
        given = job(source=str(portrait), voices=[str(voice)], size=[64, 64], settings=endless)
        with client_of(socket).stream("POST", "/renders", content=msgpack.packb(given)) as response:
            messages = msgpack.Unpacker()
            pieces = response.iter_raw()
            while "step" not in [message["type"] for message in messages]:
                messages.feed(next(pieces))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == 0
        assert not socket.exists()

        _, said = without_weights.communicate(timeout=60)
        assert without_weights.returncode == 70
        assert "nothing" in said
    finally:
        for started in (process, without_weights):
            started.kill()
            started.communicate()
