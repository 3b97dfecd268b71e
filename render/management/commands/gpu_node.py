"""`manage.py gpu_node`: the main process of one GPU's worker. It runs `manage.py qcluster` as its child."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, close_old_connections

from render.cluster.hardening import QUICK_ENDS, QUICK_SECONDS
from render.engines import registry
from render.machine import disk_room, host_lock, nodes
from render.models import Node, State
from render.parent_death import die_with_parent
from render.pipeline.prefetch import prefetch

logger = logging.getLogger(__name__)

QUEUE = "gpu"
REPORT_SECONDS = 2.0
RESTART_SECONDS = 0.5
PREFETCH_SECONDS = 1.0


class Command(BaseCommand):
    help = (
        "One GPU's worker: takes renders from the gpu queue, fetches the next one's sources ahead and keeps the node's "
        "row up to date. At SIGTERM it takes no new render, hands the current one back after the segment in work, and "
        "ends."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        # Two processes with one name would drain each other, because they share the node's row.
        self._lock = host_lock.try_lock(f"gpu_node {settings.NODE_NAME}")
        if self._lock is None:
            raise CommandError(
                f"Another gpu_node runs here as {settings.NODE_NAME}. Each GPU's worker needs a NODE_NAME of its own."
            )
        self._stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        node = nodes.heartbeat(QUEUE)
        Node.objects.filter(pk=node.pk).update(draining=False)  # Stopping the last one has drained it.
        cluster, started, quick_ends = self._start_queue(), time.monotonic(), 0
        # In a thread of its own, so that a slow storage does not make the node look dead.
        threading.Thread(target=self._prefetch, name="prefetch", daemon=True).start()
        reported_at = 0.0
        while not self._stop.wait(RESTART_SECONDS):
            if cluster.poll() is not None:
                logger.error("The queue ended with status %d, a new one starts", cluster.returncode)
                quick_ends = quick_ends + 1 if time.monotonic() < started + QUICK_SECONDS else 1
                if quick_ends == QUICK_ENDS:  # The supervisor of this process knows how long to wait.
                    raise CommandError(f"The queue ends at its start, {quick_ends} times in a row.")
                cluster, started = self._start_queue(), time.monotonic()
            if time.monotonic() > reported_at + REPORT_SECONDS:
                self._report()
                reported_at = time.monotonic()
        self._drain(node)
        cluster.terminate()
        cluster.wait()

    def _start_queue(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=settings.BASE_DIR,
            env={**os.environ, "Q_CLUSTER_NAME": QUEUE},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # A Ctrl-C must reach this process alone: with it django-q2's processes would hang.
            preexec_fn=die_with_parent,
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _report(self) -> None:
        close_old_connections()
        try:
            node = nodes.heartbeat(QUEUE)
            nodes.can_work(node)
            nodes.record_model(node, registry.statuses(QUEUE))
        except Error:
            logger.exception("The database is unavailable; trying again")

    def _prefetch(self) -> None:
        failed: set[str] = set()
        while not self._stop.wait(PREFETCH_SECONDS):
            if disk_room.fault():
                continue
            close_old_connections()
            try:
                prefetch(QUEUE, failed)
            except Error:
                logger.exception("The database is unavailable; trying again")

    def _drain(self, node: Node) -> None:
        """Wait until the current render is handed back or finished. Only SIGKILL ends this wait sooner."""
        Node.objects.filter(pk=node.pk).update(draining=True)
        while node.renders.filter(state=State.RUNNING).exists():
            threading.Event().wait(0.5)
