"""The time that django-q2 gives a ticket. It begins anew whenever the render in the worker's hands gets further.

So it bounds the time in which nothing happens, and not the length of a film. The lease's thread ends a render sooner;
this limit ends a worker that even that thread cannot end, because C code keeps Python's lock: the sentinel kills it.
"""

import signal
from typing import Any

_BUFFER_SECONDS = 3  # As django_q.worker: so much later than the alarm, the sentinel kills the worker.

_timer: Any = None  # Of this worker, shared with its sentinel, which counts it down to 0.
_seconds = 0


def watch(timer: Any, seconds: int) -> None:
    """Called once, in a new worker of a queue. In all other processes tickets have no limit."""
    global _timer, _seconds
    _timer, _seconds = timer, seconds


def begin_anew() -> None:
    """May be called from any thread."""
    if _timer is None:
        return
    with _timer.get_lock():
        if _timer.value > 0:  # Else no ticket is at work: it has just ended.
            _timer.value = _seconds + _BUFFER_SECONDS
            signal.alarm(_seconds)
