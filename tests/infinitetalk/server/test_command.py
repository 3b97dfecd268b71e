"""`python -m infinitetalk serve` as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgpack
import pytest

from infinitetalk.__main__ import COMMANDS
from infinitetalk.errors import InfiniteTalkError
from infinitetalk.server.command import private_socket
from tests.infinitetalk import forked
from tests.infinitetalk.server.test_app import SETTINGS, job


def serve(socket: Path, weights: Path) -> list[str]:
    """Arguments of the command line."""
    return ["serve", f"--socket={socket}", f"--weights={weights}", "--dtype=float32", "--lora=none", "--device=cpu"]


def client_of(socket: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://server")


def wait_until_ready(socket: Path, is_alive: Callable[[], bool], said: Path) -> dict:
    client = client_of(socket)
    deadline = time.monotonic() + 300  # A busy machine takes a minute for the imports.
    while time.monotonic() < deadline and is_alive():
        try:
            health = client.get("/health").json()
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if health["state"] == "ready":
            return health
    raise AssertionError(said.read_text())


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


def test_the_program_names_its_commands() -> None:
    """Here alone by its interpreter: what a command imports takes seconds, and `forked` has it."""
    program = subprocess.run([sys.executable, "-m", "infinitetalk"], capture_output=True, text=True)

    assert program.returncode == 2
    assert all(command in program.stderr for command in COMMANDS)


@pytest.mark.slow
def test_it_ends_at_once_when_it_is_told_to_and_when_its_weights_are_missing(
    socket, weights, portrait, voice, tmp_path
) -> None:
    without_weights = forked.start(serve(tmp_path / "other.sock", tmp_path / "nothing"), tmp_path / "without-weights")
    process = forked.start(serve(socket, weights), tmp_path / "said")
    try:
        health = wait_until_ready(socket, process.is_alive, tmp_path / "said")
        assert (health["plan"], health["attention"], health["loads"]) == ("resident", "native", 1)
        endless = {**SETTINGS, "num_inference_steps": 10_000}
        given = job(source=str(portrait), voices=[str(voice)], size=[32, 32], settings=endless)
        with client_of(socket).stream("POST", "/renders", content=msgpack.packb(given)) as response:
            messages = msgpack.Unpacker()
            pieces = response.iter_raw()
            while "step" not in [message["type"] for message in messages]:
                messages.feed(next(pieces))
            os.kill(process.pid, signal.SIGTERM)
            process.join(60)
        assert process.exitcode == 0
        assert not socket.exists()

        without_weights.join(300)
        assert without_weights.exitcode == 70
        assert "nothing" in (tmp_path / "without-weights").read_text()
    finally:
        for started in (process, without_weights):
            started.kill()
            started.join()
