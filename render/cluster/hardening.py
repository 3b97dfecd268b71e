"""Patches django-q2, whose version is pinned, so that the death of one of its processes ends the whole process tree.

In django-q2, a worker that is killed while it waits for work keeps the queue's semaphore: the cluster looks healthy but
never works again (django-q2 issue 23). A killed Sentinel or main process leaves orphans that go on taking tasks. Here
any unplanned death ends the whole tree at once. The main process, which holds no work, starts a new tree after
RESTART_SECONDS; its supervisor restarts the main process. The renders come back when their leases end.
"""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from render.cluster import ticket_clock
from render.parent_death import die_with_parent

logger = logging.getLogger(__name__)

RESTART_SECONDS = 0.5
QUICK_SECONDS = 10.0  # An end within this time after the start is a quick end.
QUICK_ENDS = 5  # After so many in a row the main process ends, too: its supervisor knows how long to wait.
EXIT_STATUS = 70  # EX_SOFTWARE of sysexits.h
_TIMED_OUT, _RECYCLED = 0, -2  # django-q2's values of a worker's timer when the worker's death was planned


def install() -> None:
    """Patch `django_q.cluster`; a second call changes nothing."""
    # Imported here: django_q.cluster needs the app registry to be ready.
    from django_q import cluster

    if isinstance(cluster.worker, _DiesWithParent):
        return
    cluster.worker = _Worker(cluster.worker)
    cluster.pusher = _DiesWithParent(_pushing(cluster.pusher))
    cluster.monitor = _DiesWithParent(cluster.monitor)
    cluster.Sentinel = _crash_only(cluster.Sentinel)
    cluster.Cluster = _restarting(cluster.Cluster)


class _DiesWithParent:
    """The main function of a process that the kernel kills when its parent dies."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        die_with_parent()
        return self._function(*arguments)


class _Worker(_DiesWithParent):
    """A worker's main function, which also gives its timer to `ticket_clock`."""

    def __call__(self, task_queue: Any, result_queue: Any, timer: Any, timeout: int) -> Any:
        ticket_clock.watch(timer, timeout)
        return super().__call__(task_queue, result_queue, timer, timeout)


def _pushing(pusher: Callable[..., Any]) -> Callable[..., Any]:
    """The pusher with a watchdog thread, and with a broker that takes no ticket while the previous one waits for a
    worker: a ticket that waits in memory keeps its place before more urgent ones, and no other node can take it.
    """

    @functools.wraps(pusher)
    def push(task_queue: Any, event: Any, broker: Any = None) -> Any:
        from django_q.brokers import get_broker  # Imported here: its models need the app registry to be ready.
        from django_q.conf import Conf

        from render.cluster import watchdog

        threading.Thread(
            target=watchdog.watch,
            args=(task_queue, Conf.CLUSTER_NAME),
            kwargs={"exit_status": EXIT_STATUS},
            daemon=True,
        ).start()
        broker = broker or get_broker()
        broker.is_full = lambda: not task_queue.empty()
        return pusher(task_queue, event, broker)

    return push


def _crash_only(sentinel: type[Any]) -> type[Any]:
    """A Sentinel that ends the tree when one of its processes has died without being told to."""

    class CrashOnlySentinel(sentinel):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            die_with_parent()
            super().__init__(*arguments, **named)

        def reincarnate(self, process: BaseProcess) -> None:
            timer = getattr(process, "timer", None)
            if timer is not None and int(timer.value) in (_TIMED_OUT, _RECYCLED):
                super().reincarnate(process)
                return
            for child in [*self.pool, self.monitor, self.pusher]:
                child.kill()
            os._exit(EXIT_STATUS)

    return CrashOnlySentinel


def _restarting(cluster: type[Any]) -> type[Any]:
    """A Cluster whose main process starts a new tree when the old one has ended."""

    class RestartingCluster(cluster):  # type: ignore[misc]
        stop_event: Any
        _ends = False

        def start(self) -> int:
            """Return after the stop. Raises RuntimeError when a Sentinel ends while it starts; then none is started."""
            quick_ends = 0
            while True:
                started = time.monotonic()
                pid: int = super().start()
                if self._ends:  # The signal may have come while there was no Sentinel.
                    self.stop()
                self.sentinel.join()
                if self._ends:
                    return pid
                status = self.sentinel.exitcode
                logger.error("The queue's processes ended with status %d, new ones start", status)
                quick_ends = quick_ends + 1 if time.monotonic() < started + QUICK_SECONDS else 1
                if quick_ends == QUICK_ENDS:
                    sys.exit(EXIT_STATUS)
                time.sleep(RESTART_SECONDS)
                if self._ends:
                    return pid

        def stop(self) -> bool:
            if not self.sentinel.is_alive():
                return False
            # In a thread: a Sentinel that is killed while it reads the event leaves it locked for ever.
            threading.Thread(target=self.stop_event.set, daemon=True).start()
            self.sentinel.join()
            self.start_event = self.stop_event = None  # As in django-q2, where `start` waits for it.
            return True

        def sig_handler(self, signum: int, frame: Any) -> None:
            self._ends = True
            super().sig_handler(signum, frame)

    return RestartingCluster
