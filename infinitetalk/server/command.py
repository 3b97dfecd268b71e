"""`python -m infinitetalk serve`: the model server, one for each GPU.

Under `torchrun --nproc-per-node N` it is one for N GPUs, which share the work on each render.
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

from infinitetalk.acceleration.attention_backends import capability_of, choose_attention
from infinitetalk.acceleration.compile import keep_compiled_code
from infinitetalk.acceleration.memory_plan import PLANS, MemoryPlan, choose_plan
from infinitetalk.checkpoints import hub
from infinitetalk.errors import InfiniteTalkError
from infinitetalk.model.sequence_parallel import Group
from infinitetalk.server.app import ModelServer
from infinitetalk.server.distributed import LockstepModel
from infinitetalk.server.model import Hardware, WarmModel
from infinitetalk.server.variants import Variant, VariantLoader

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1  # A render that is cut off goes on after its last chunk, with the next server.
EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h: to be started anew


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, required=True, help="a unix socket; only this user can open it")
    parser.add_argument("--weights", type=Path, required=True, help="the folder of `download`")
    parser.add_argument("--merged", type=Path, action="append", default=[], help="files of `merge`, quicker to load")
    parser.add_argument("--speakers", type=int, choices=(1, 2), default=1, help="of the variant that is loaded first")
    parser.add_argument("--lora", choices=[*sorted(hub.PRESET_LORAS), "none"], default="standard", help="of it, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--memory-plan", choices=sorted(PLANS), help="by default chosen by the GPU's memory")
    parser.add_argument("--attention", help="a backend of diffusers; by default chosen by the GPU")
    parser.add_argument("--approximate-attention", action="store_true", help="SageAttention, where it is installed")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument("--compile-cache", type=Path, help="by default beside the weights")


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    disable_progress_bar()
    group = Group.init(options.device)
    if not group.leads:
        _follow(options, group)
        return 0
    # uvicorn raises the signal again when it is done; only an exception lets the socket be removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    # Before the minutes that loading may take.
    with private_socket(options.socket) as listener:
        app = ModelServer(_start(options, group), on_fatal=_end_at_once).app
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        uvicorn.Server(config).run([listener])
    return 0


def _follow(options: argparse.Namespace, group: Group) -> None:
    model = _start(options, group)
    assert isinstance(model, LockstepModel)
    model.follow()


def _start(options: argparse.Namespace, group: Group) -> WarmModel:
    device = torch.device(group.device)
    keep_compiled_code(options.compile_cache or options.weights / "compiled")
    hardware = Hardware(
        device=device,
        dtype=getattr(torch, options.dtype),
        vae_dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
        attention=options.attention
        or choose_attention(capability_of(device), approximate=options.approximate_attention),
        compiled=device.type == "cuda" and not options.no_compile,
    )
    loader = VariantLoader(options.weights, options.merged, hardware.dtype, device)
    plan = _plan(options, device)
    if group.size > 1:
        plan = PLANS[group.broadcast(plan.name)]
        model: WarmModel = LockstepModel(options.weights, loader, hardware, plan, group=group, on_fatal=_end_at_once)
    else:
        model = WarmModel(options.weights, loader, hardware, plan)
    logger.info("Plan %s, attention %s, %d GPUs", plan.name, hardware.attention, group.size)
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
    # Without its weights the server is of no use; whoever started it sees why and that it ended.
    logger.error("The weights cannot be loaded", exc_info=error)
    _end_at_once()


@contextlib.contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """A listening unix socket that only this user can open. Raises InfiniteTalkError `already_running`.

    The lock tells a server that runs from the socket's file that a killed one has left.
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
