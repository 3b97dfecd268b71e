"""What django-q2 runs. The names are stored in tickets and schedules: they never change."""

import time

from render.cluster import watchdog
from render.engines import registry
from render.fence import Claim
from render.lifecycle import reaper, transitions
from render.machine import nodes, work_folder
from render.pipeline import runner
from render.queue import tickets
from render.queue.selection import claimable, wants_variant

FAULTY_PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 30.0  # with an engine of this node that is not available, before the ticket is given up


def run_ticket(queue_name: str) -> None:
    """A free worker takes the render whose turn it is, if there is one."""
    claim = _claim(queue_name)
    if claim is not None:
        runner.run(claim)


def run_reaper() -> None:
    reaper.run()


def run_canary(queue_name: str) -> None:
    watchdog.sing(queue_name)
    if nodes.can_work(nodes.beat(queue_name)):
        work_folder.sweep()


def _claim(queue_name: str) -> Claim | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        engines = registry.statuses(queue_name)
        missing = [name for name, status in engines.items() if not status.available]
        node = nodes.beat(queue_name)
        nodes.note_model(node, engines)
        if not nodes.can_work(node):
            _leave_to_others(queue_name)
            return None
        claim = transitions.claim_next(queue_name, node, without_engines=missing)
        if claim is not None or time.monotonic() > deadline:
            return claim
        if node.unloadable and claimable(queue_name).filter(wants_variant(node.unloadable)).exists():
            _leave_to_others(queue_name)
            return None
        if not claimable(queue_name).filter(engine__in=missing).exists():
            return None
        time.sleep(1)


def _leave_to_others(queue_name: str) -> None:
    """This node has taken a ticket for what it cannot do. It is slow to take the next one."""
    tickets.top_up(queue_name)
    time.sleep(FAULTY_PAUSE_SECONDS)
