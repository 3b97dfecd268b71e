"""Decodes a customer's file in another process, which may be killed and which a hostile file cannot easily leave.

Each calling thread has a decoding server of its own (`decoding_server`), which forks a process with limits for each
file. The server dies with its thread, knows no secret of this process, and is killed when the caller's `check` raises:
the render was canceled, or its lease is lost.
"""

import contextlib
import errno
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import render
from accounts.errors import ServiceError
from render.media.isolation.jobs import from_json, to_json
from render.media.isolation.process_limits import OPEN_FILES, Limits

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.25
START_SECONDS, END_SECONDS = 120, 5  # that a decoding server may take on a busy machine
TRIES = 2  # of a file that crashes its decoder: the first crash may be the machine's fault
CODE = str(Path(render.__file__).parents[1])
_SERVERS = threading.local()


class DecodingTimeout(Exception):
    """The process took too long, without using up its CPU time: the machine is overloaded."""


def decode(
    job: str, arguments: dict[str, Any], *, limits: Limits, param: str, check: Callable[[], None] = lambda: None
) -> Any:
    """Run one of `render.media.isolation.jobs` and return its result. `check` is called every CHECK_SECONDS.

    Raises the ServiceError or OSError of the job; ServiceError media_too_complex for a file that takes more than
    `limits`, or that crashes its decoder twice; OSError ENOMEM when the machine has no memory for the process;
    DecodingTimeout; and whatever `check` raises.
    """
    request = {"job": job, "arguments": to_json({**arguments, "param": param}), "limits": asdict(limits)}
    for _ in range(TRIES):
        outcome = _run(request, limits.wall_seconds, check)
        answer = outcome["answer"]
        logger.info(
            "%s: %.1f s of CPU, %d MB, signal %d",
            job,
            outcome["cpu_seconds"],
            outcome["most_bytes"] / 1e6,
            outcome["signal"],
        )
        # The kernel sends SIGXCPU at the limit of CPU time, and SIGKILL a second later. A SIGKILL before the limit
        # comes from a kernel out of memory, or from staff. (The limit of memory ends in MemoryError.)
        used_up = outcome["cpu_seconds"] >= limits.cpu_seconds
        if outcome["signal"] == signal.SIGXCPU or (outcome["signal"] == signal.SIGKILL and used_up):
            answer = {"exceeded": f"{limits.cpu_seconds} s of computing time"}
        elif outcome["signal"] == signal.SIGKILL:
            raise _no_memory("the process that decodes a file was killed")
        if answer is not None:
            return _result(answer, limits, param)
        logger.warning("%s of %s crashed with signal %d", job, param, outcome["signal"])
    raise ServiceError(
        "media_too_complex", "The file crashes the program that decodes it. Send it re-encoded.", param=param
    )


def _result(answer: dict[str, Any], limits: Limits, param: str) -> Any:
    if "exceeded" in answer:
        limits_in_words = {
            "memory": f"{limits.memory_bytes >> 20} MiB of memory",
            "file size": "the allowed disk space",
            "open files": f"{OPEN_FILES} open files",
        }
        limit = limits_in_words.get(answer["exceeded"], answer["exceeded"])
        raise ServiceError("media_too_complex", f"Decoding the file takes more than {limit}.", param=param)
    if "error" in answer:
        error = answer["error"]
        raise ServiceError(error["code"], error["detail"], param=error["param"])
    if "errno" in answer:
        raise OSError(answer["errno"], answer["text"])
    if "bug" in answer:
        raise RuntimeError(answer["bug"])
    return from_json(answer["result"])


def _run(request: dict[str, Any], seconds: float, check: Callable[[], None]) -> dict[str, Any]:
    server = _server(check)
    assert server.stdin is not None and server.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # the server has died, and its end of the other pipe is closed
            server.stdin.write(json.dumps(request).encode() + b"\n")
            server.stdin.flush()
        line = _read_line(server.stdout.fileno(), time.monotonic() + seconds, check)
    except BaseException:
        _kill(server)
        raise
    if not line.endswith(b"\n"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)  # it has closed its end of the pipe, so it is about to end
        status = server.poll()
        _kill(server)
        return {"answer": None, "signal": -status if status and status < 0 else 0, "cpu_seconds": 0.0, "most_bytes": 0}
    outcome: dict[str, Any] = json.loads(line)
    if "not_started" in outcome:
        _kill(server)
        raise _no_memory(outcome["not_started"])
    return outcome


def _no_memory(text: str) -> OSError:
    """An error that is the machine's fault (see `render.node_faults`)."""
    return OSError(errno.ENOMEM, f"No memory to decode a file: {text}")


def _read_line(descriptor: int, deadline: float, check: Callable[[], None]) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        check()
        if time.monotonic() > deadline:
            raise DecodingTimeout
        if select.select([descriptor], [], [], CHECK_SECONDS)[0]:
            block = os.read(descriptor, 2**16)
            if not block:
                break
            line += block
    return line


def _server(check: Callable[[], None]) -> "subprocess.Popen[bytes]":
    """The server of this thread, started if there is none. After a fork, the server of the parent is not used."""
    server: subprocess.Popen[bytes] | None = getattr(_SERVERS, "server", None)
    if server is None or _SERVERS.owner != os.getpid() or server.poll() is not None:
        try:
            server = subprocess.Popen(
                [sys.executable, "-P", "-m", "render.media.isolation.decoding_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Nothing from this process's environment, which holds passwords. One thread, so that it can fork.
                env={"PYTHONPATH": CODE, "PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
                process_group=0,
            )
        except BlockingIOError as error:  # EAGAIN: no more processes are allowed
            raise _no_memory(str(error.strerror)) from error
        _SERVERS.server, _SERVERS.owner = server, os.getpid()
        assert server.stdout is not None
        try:
            if not _read_line(server.stdout.fileno(), time.monotonic() + START_SECONDS, check).endswith(b"\n"):
                raise _no_memory("the decoding server does not start")
        except BaseException:
            _kill(server)
            raise
    return server


def _kill(server: "subprocess.Popen[bytes]") -> None:
    """Kill the server and the process that it has forked, which is in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for pipe in (server.stdin, server.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()
    del _SERVERS.server
