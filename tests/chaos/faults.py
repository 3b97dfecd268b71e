"""What goes wrong while the campaign runs: processes die, freeze, and the database crashes."""

import logging
import random
import signal
from collections.abc import Callable
from threading import Thread
from time import monotonic, sleep
from uuid import UUID

import psutil
from django.db import Error, connection

from render.models import Attempt, Render, State
from tests.chaos.stage import GPU_NODES, LEASE_SECONDS, QUEUES, Stage

logger = logging.getLogger(__name__)

LONGEST_FREEZE_SECONDS = 3 * LEASE_SECONDS
CRASH_SECONDS = 3.0


def busy_worker(stage: Stage, chance: random.Random) -> str:
    name = _busy(chance)
    stage.tree(name).workers[0].kill()
    return name


def any_worker(stage: Stage, chance: random.Random) -> str:
    name = chance.choice(QUEUES)
    chance.choice(stage.tree(name).workers).kill()
    return name


def whole_tree(stage: Stage, chance: random.Random) -> str:
    name = chance.choice(QUEUES)
    for process in {stage.supervised(name), *stage.tree(name).all}:
        process.kill()
    return name


def freeze(stage: Stage, chance: random.Random) -> str:
    """At work, for longer than its lease. It goes on in the middle of what it did, just as somebody else does that."""
    name = _busy(chance)
    worker = stage.tree(name).workers[0]
    held = Render.objects.filter(state=State.RUNNING, node__name=name).values_list("pk", "attempt").first()
    worker.send_signal(signal.SIGSTOP)

    def thaw() -> None:
        deadline = monotonic() + LONGEST_FREEZE_SECONDS
        while monotonic() < deadline and not _is_anothers(held):
            sleep(0.05)
        connection.close()
        if worker.is_running():
            worker.send_signal(signal.SIGCONT)

    Thread(target=thaw).start()
    return name


def _is_anothers(held: tuple[UUID, int] | None) -> bool:
    if held is None:
        return False
    render_id, attempt = held
    try:
        later = Attempt.objects.filter(render=render_id, number__gt=attempt, node__name__in=GPU_NODES)
        return later.exists()
    except Error:  # Another fault.
        connection.close()
        return False


def crash_database(stage: Stage, chance: random.Random) -> str:
    stage.database.crash(CRASH_SECONDS)
    return "postgres"


def _busy(chance: random.Random) -> str:
    """A GPU node, which has one worker, with a render in its hands; any, if none has."""
    busy = Render.objects.filter(state=State.RUNNING, node__name__in=GPU_NODES).values_list("node__name", flat=True)
    return chance.choice(sorted(busy) or GPU_NODES)


def _kill(role: str) -> Callable[[Stage, random.Random], str]:
    def kill(stage: Stage, chance: random.Random) -> str:
        name = chance.choice(QUEUES)
        getattr(stage.tree(name), role).kill()
        return name

    return kill


def _kill_process(name: str) -> Callable[[Stage, random.Random], str]:
    def kill(stage: Stage, chance: random.Random) -> str:
        stage.supervised(name).kill()
        return name

    return kill


# Kind -> how often, and how.
KINDS: dict[str, tuple[int, Callable[[Stage, random.Random], str]]] = {
    "busy worker": (9, busy_worker),
    "any worker": (5, any_worker),
    "whole tree": (5, whole_tree),
    "freeze": (5, freeze),
    "sentinel": (3, _kill("sentinel")),
    "main": (2, _kill("main")),
    "monitor": (2, _kill("monitor")),
    "pusher": (2, _kill("pusher")),
    "web": (2, _kill_process("web")),
    "reaper": (1, _kill_process("reaper")),
    "database crash": (2, crash_database),
}


def in_some_order(chance: random.Random) -> list[str]:
    kinds = [kind for kind, (times, _) in KINDS.items() for _ in range(times)]
    chance.shuffle(kinds)
    return kinds


def commit(kind: str, stage: Stage, chance: random.Random) -> None:
    try:
        where = KINDS[kind][1](stage, chance)
        logger.info("%s: %s", kind, where)
    except psutil.NoSuchProcess:
        logger.info("%s: it was dead already", kind)
