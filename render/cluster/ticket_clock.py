"""The time that django-q2 gives a ticket. It begins anew whenever the worker's render moves on.

So it limits the time without progress, and not the length of a video. Usually the lease's thread ends a render sooner.
This limit is for a worker in which even that thread cannot run, because C code keeps Python's lock: the Sentinel kills
the worker.
"""

import signal
from typing import Any

_BUFFER_SECONDS = 3  # Between the alarm and the Sentinel's kill; as in django_q.worker.

_timer: Any = None  # This worker's, shared with its Sentinel, which counts it down to 0.
_seconds = 0


def watch(timer: Any, seconds: int) -> None:
    """Called once, in a new worker of a queue. In other processes tickets have no time limit."""
    global _timer, _seconds
    _timer, _seconds = timer, seconds


def begin_anew() -> None:
    """Give the current ticket its full time again. May be called from any thread."""
    if _timer is None:
        return
    with _timer.get_lock():
        if _timer.value > 0:  # Otherwise the ticket has just ended.
            _timer.value = _seconds + _BUFFER_SECONDS
            signal.alarm(_seconds)
