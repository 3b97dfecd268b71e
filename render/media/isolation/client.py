"""Has a stranger's file decoded by a process that may be killed, and that a hostile file cannot get out of easily.

Each thread that asks has a decoding server of its own, see `decoding_server`, which makes a process with limits for
each file. It dies with its thread, knows no secret of this process, and is killed when the caller's `check`
raises: the render was canceled, or the lease is lost.
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
from render.media.isolation.jobs import answer_of, plain
from render.media.isolation.process_limits import OPEN_FILES, Limits

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.25
START_SECONDS, END_SECONDS = 120, 5  # of a decoding server, on a busy machine
TRIES = 2  # with a file that crashes its decoder: the first time it may have been the machine
CODE = str(Path(render.__file__).parents[1])
_SERVERS = threading.local()


class TooSlow(Exception):
    """The process has not ended in its time, though it has not used it up either: the machine is overloaded."""


def decode(
    job: str, arguments: dict[str, Any], *, limits: Limits, param: str, check: Callable[[], None] = lambda: None
) -> Any:
    """Do one of `render.media.isolation.jobs` and return its answer.

    Raises what the job raises as ServiceError or OSError; ServiceError media_too_complex for a file that takes more
    than `limits`, or that crashes its decoder twice; OSError ENOMEM where the machine has no memory for the process;
    TooSlow; and whatever `check` raises, which is called every CHECK_SECONDS.
    """
    order = {"job": job, "arguments": plain({**arguments, "param": param}), "limits": asdict(limits)}
    for _ in range(TRIES):
        outcome = _ask(order, limits.wall_seconds, check)
        said = outcome["said"]
        logger.info(
            "%s: %.1f s of CPU, %d MB, signal %d",
            job,
            outcome["cpu_seconds"],
            outcome["most_bytes"] / 1e6,
            outcome["signal"],
        )
        # Who ignores SIGXCPU gets SIGKILL a second later. Else that comes from the kernel, which is out of memory, or
        # from staff: limits of memory end in MemoryError.
        used_up = outcome["cpu_seconds"] >= limits.cpu_seconds
        if outcome["signal"] == signal.SIGXCPU or (outcome["signal"] == signal.SIGKILL and used_up):
            said = {"exceeded": f"{limits.cpu_seconds} s of computing time"}
        elif outcome["signal"] == signal.SIGKILL:
            raise _no_memory("the process that decodes a file was killed")
        if said is not None:
            return _answer(said, limits, param)
        logger.warning("%s of %s crashed with signal %d", job, param, outcome["signal"])
    raise ServiceError("media_too_complex", "The file crashes the program that decodes it.", param=param)


def _answer(said: dict[str, Any], limits: Limits, param: str) -> Any:
    if "exceeded" in said:
        allowed = {"memory": f"{limits.memory_bytes >> 20} MiB of memory", "file size": "the space it may fill"}
        allowed["open files"] = f"{OPEN_FILES} open files"
        what = allowed.get(said["exceeded"], said["exceeded"])
        raise ServiceError("media_too_complex", f"To decode the file takes more than {what}.", param=param)
    if "error" in said:
        error = said["error"]
        raise ServiceError(error["code"], error["detail"], param=error["param"])
    if "errno" in said:
        raise OSError(said["errno"], said["text"])
    if "bug" in said:
        raise RuntimeError(said["bug"])
    return answer_of(said["answer"])


def _ask(order: dict[str, Any], seconds: float, check: Callable[[], None]) -> dict[str, Any]:
    server = _server(check)
    assert server.stdin is not None and server.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # It has died; the answer tells.
            server.stdin.write(json.dumps(order).encode() + b"\n")
            server.stdin.flush()
        line = _read_line(server.stdout.fileno(), time.monotonic() + seconds, check)
    except BaseException:
        _kill(server)
        raise
    if not line.endswith(b"\n"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)  # It has closed its end: so it is about to end.
        status = server.poll()
        _kill(server)
        return {"said": None, "signal": -status if status and status < 0 else 0, "cpu_seconds": 0.0, "most_bytes": 0}
    outcome: dict[str, Any] = json.loads(line)
    if "not_started" in outcome:
        _kill(server)
        raise _no_memory(outcome["not_started"])
    return outcome


def _no_memory(text: str) -> OSError:
    """The machine's fault, see `render.node_faults`."""
    return OSError(errno.ENOMEM, f"No memory to decode a file: {text}")


def _read_line(descriptor: int, deadline: float, check: Callable[[], None]) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        check()
        if time.monotonic() > deadline:
            raise TooSlow
        if select.select([descriptor], [], [], CHECK_SECONDS)[0]:
            piece = os.read(descriptor, 2**16)
            if not piece:
                break
            line += piece
    return line


def _server(check: Callable[[], None]) -> "subprocess.Popen[bytes]":
    found: subprocess.Popen[bytes] | None = getattr(_SERVERS, "server", None)
    if found is None or _SERVERS.owner != os.getpid() or found.poll() is not None:
        try:
            found = subprocess.Popen(
                [sys.executable, "-P", "-m", "render.media.isolation.decoding_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Nothing of this process's environment: it holds passwords. One thread, so that it can fork.
                env={"PYTHONPATH": CODE, "PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
                process_group=0,
            )
        except BlockingIOError as error:  # EAGAIN: there may be no more processes.
            raise _no_memory(str(error.strerror)) from error
        _SERVERS.server, _SERVERS.owner = found, os.getpid()
        assert found.stdout is not None
        try:
            if not _read_line(found.stdout.fileno(), time.monotonic() + START_SECONDS, check).endswith(b"\n"):
                raise _no_memory("the program that decodes it does not start")
        except BaseException:
            _kill(found)
            raise
    return found


def _kill(server: "subprocess.Popen[bytes]") -> None:
    """With the process that it has made, which is of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for pipe in (server.stdin, server.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()
    del _SERVERS.server
