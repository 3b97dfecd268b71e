"""Makes django-q2's process tree crash-only. Patches `worker`, `pusher`, `monitor`, `Sentinel`: the release is pinned.

As published, a worker killed while it waits for work keeps the queue's semaphore, and the cluster looks healthy but
never works again (django-q2 issue 23); a killed Sentinel or main process leaves orphans that go on taking tasks. Here
any unplanned death ends the whole cluster at once, and its supervisor starts a new one. Leases bring the renders back.
"""

import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

EXIT_STATUS = 70  # EX_SOFTWARE of sysexits.h
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_TIMED_OUT, _RECYCLED = 0, -2  # What django-q2 leaves in a worker's timer when the death was planned


def install() -> None:
    # Imported here: django_q.cluster needs the app registry to be ready.
    from django_q import cluster

    if isinstance(cluster.worker, _DiesWithParent):
        return
    cluster.worker = _DiesWithParent(cluster.worker)
    cluster.pusher = _DiesWithParent(_with_canary(cluster.pusher))
    cluster.monitor = _DiesWithParent(cluster.monitor)
    cluster.Sentinel = _crash_only(cluster.Sentinel)


class _DiesWithParent:
    """A process's main function that is killed by the kernel when its parent dies."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        die_with_parent()
        return self._function(*arguments)


def _with_canary(pusher: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(pusher)
    def push(task_queue: Any, event: Any, broker: Any = None) -> Any:
        from django_q.conf import Conf

        from render import canary  # Its models need the app registry to be ready.

        named = {"exit_status": EXIT_STATUS}
        threading.Thread(target=canary.watch, args=(task_queue, Conf.CLUSTER_NAME), kwargs=named, daemon=True).start()
        return pusher(task_queue, event, broker)

    return push


def die_with_parent() -> None:
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before the call.
        os.kill(os.getpid(), signal.SIGKILL)


def _crash_only(sentinel: type[Any]) -> type[Any]:
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
