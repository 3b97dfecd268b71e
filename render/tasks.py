"""The tasks that django-q2 runs. Their names are stored in tickets and schedules, so they never change."""

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
ENGINE_PATIENCE_SECONDS = 30.0  # How long a ticket waits for an engine of this node that is not available.


def run_ticket(queue_name: str) -> None:
    """Claim the queue's next render, if there is one, and work on it."""
    claim = _claim(queue_name)
    if claim is not None:
        runner.run(claim)


def run_reaper() -> None:
    """Scheduled, beside the loop of `manage.py reaper`: either may be down."""
    reaper.run()


def run_canary(queue_name: str) -> None:
    """The watchdog's task: show that this worker works, and remove what killed ones have left."""
    watchdog.answer(queue_name)
    if nodes.can_work(nodes.heartbeat(queue_name)):
        work_folder.sweep()


def _claim(queue_name: str) -> Claim | None:
    """The next render that this node can do, waiting a while for its engines; None if there is none."""
    deadline = time.monotonic() + ENGINE_PATIENCE_SECONDS
    while True:
        engines = registry.statuses(queue_name)
        missing = [name for name, status in engines.items() if not status.available]
        node = nodes.heartbeat(queue_name)
        nodes.record_model(node, engines)
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
    """Put back the ticket of a render that this node cannot do, and pause, so that another node takes it first."""
    tickets.top_up(queue_name)
    time.sleep(FAULTY_PAUSE_SECONDS)
