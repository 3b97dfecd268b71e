"""`python -m infinitetalk serve`: the model server, one process for each GPU.

Under `torchrun --nproc-per-node N`, N processes are one server, whose N GPUs share the work on each render.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import torch
import uvicorn
from transformers.utils.logging import disable_progress_bar

from infinitetalk.acceleration.compile import keep_compiled_code
from infinitetalk.acceleration.memory_plan import PLANS, MemoryPlan, choose_plan
from infinitetalk.checkpoints import hub
from infinitetalk.errors import AttentionUnavailable, InfiniteTalkError
from infinitetalk.server.app import ModelServer
from infinitetalk.server.distributed import DistributedModelWorker, Group
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.runtime_options import RuntimeOptions
from infinitetalk.server.variants import Variant, VariantLoader

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1  # Short: an interrupted render continues after its last chunk, with the next server.
EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h: the service manager restarts the server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, required=True, help="a unix socket; only this user can open it")
    parser.add_argument("--weights", type=Path, required=True, help="the folder of `download`")
    parser.add_argument("--merged", type=Path, action="append", default=[], help="files of `merge`, quicker to load")
    parser.add_argument("--speakers", type=int, choices=(1, 2), default=1, help="in the variant loaded first")
    parser.add_argument(
        "--lora",
        choices=[*sorted(hub.PRESET_LORAS), "none"],
        default="standard",
        help="in the variant loaded first",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--memory-plan", choices=sorted(PLANS), help="default: chosen by the GPU's memory")
    parser.add_argument("--attention", help="a backend of diffusers; default: chosen by the GPU")
    parser.add_argument("--approximate-attention", action="store_true", help="allow SageAttention if installed")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--compile-cache", type=Path, help="torch.compile's code; default: beside the weights")


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    disable_progress_bar()
    group = Group.init(options.device)
    if not group.leads:
        _follow(options, group)
        return 0
    # uvicorn raises the signal again when it ends; as an exception, the signal lets the socket be removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    # Bound before the model is loaded, which may take minutes: clients see the state `loading`.
    with private_socket(options.socket) as listener:
        app = ModelServer(_start(options, group), on_fatal=_end_at_once).app
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        uvicorn.Server(config).run([listener])
    return 0


def _follow(options: argparse.Namespace, group: Group) -> None:
    model = _start(options, group)
    assert isinstance(model, DistributedModelWorker)
    model.follow()


def _start(options: argparse.Namespace, group: Group) -> ModelWorker:
    device = torch.device(group.device)
    runtime = RuntimeOptions.of_arguments(options, device)
    keep_compiled_code(options.compile_cache or options.weights / "compiled")
    loader = VariantLoader(options.weights, options.merged, runtime.dtype, device)
    plan = _plan(options, device)
    if group.size > 1:
        plan = PLANS[group.broadcast(plan.name)]
        model: ModelWorker = DistributedModelWorker(
            options.weights, loader, runtime, plan, group=group, on_fatal=_end_at_once
        )
    else:
        model = ModelWorker(options.weights, loader, runtime, plan)
    logger.info("Plan %s, attention %s, %d GPUs", plan.name, runtime.attention, group.size)
    loaded = model.start(Variant(options.speakers, None if options.lora == "none" else options.lora))
    loaded.add_done_callback(_stop_if_failed)
    return model


def _end_at_once() -> None:
    os._exit(EXIT_FAILED)


def _plan(options: argparse.Namespace, device: torch.device) -> MemoryPlan:
    if options.memory_plan:
        return PLANS[options.memory_plan]
    if device.type != "cuda":
        return PLANS["resident"]
    return choose_plan(torch.cuda.get_device_properties(device).total_memory)


def _stop_if_failed(loaded: "Future[None]") -> None:
    error = loaded.exception()
    if error is None:
        logger.info("Ready")
        return
    # Without a model the server cannot work. The log has the reason, and the exit status says that it failed.
    if isinstance(error, AttentionUnavailable):
        logger.error("%s: %s", error.code, error.detail)
    else:
        logger.error("The weights cannot be loaded", exc_info=error)
    _end_at_once()


@contextlib.contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """A listening unix socket that only this user can open. Raises InfiniteTalkError `already_running`.

    A lock file shows whether the socket belongs to a running server, or is left from a killed one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock, socket.socket(socket.AF_UNIX) as listener:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InfiniteTalkError("already_running", f"Another model server listens on {path}.") from error
        path.unlink(missing_ok=True)
        mask = os.umask(0o077)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
