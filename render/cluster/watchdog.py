"""Whether a queue's workers work: every minute its pusher hands them a task that writes down that it ran.

A worker that dies is noticed at once, see `render.cluster.hardening`. This finds what nobody has thought of: processes
that are all alive, and do nothing. The cluster then ends, and whoever supervises it starts a new one.
"""

import contextlib
import logging
import os
import time
import uuid
from datetime import timedelta
from queue import Full
from typing import Any

from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from render.models import Node, State

logger = logging.getLogger(__name__)

SILENCES = 10  # canaries in a row without an answer; a large upload's check alone may take some minutes


def watch(task_queue: Any, queue: str, *, exit_status: int) -> None:
    """Runs beside the pusher for as long as that lives."""
    heard_at = time.monotonic()
    while True:
        _send(task_queue, queue)
        time.sleep(settings.CANARY_SECONDS)
        if _is_alive(queue):
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > SILENCES * settings.CANARY_SECONDS:
            logger.critical("The workers of queue %s do nothing: the cluster ends", queue)
            os._exit(exit_status)


def sing(queue: str) -> None:
    """The task itself, in a worker."""
    Node.objects.update_or_create(name=settings.NODE_NAME, queue=queue, defaults={"canary_at": Now()})


def _send(task_queue: Any, queue: str) -> None:
    # Past the broker, where the canaries of all nodes would mix. What a task is to django-q2: django_q.tasks.async_task
    task = {
        "id": uuid.uuid4().hex,
        "name": f"canary-{queue}",
        "func": "render.tasks.run_canary",
        "args": (queue,),
        "kwargs": {},
        "started": timezone.now(),
    }
    with contextlib.suppress(Full):  # They are busy, or stuck: what they hold and what they last did tells which.
        task_queue.put_nowait(task)


def _is_alive(queue: str) -> bool:
    """Whether a worker has answered lately or holds a render, which its lease watches over."""
    close_old_connections()
    try:
        lately = Q(canary_at__gt=Now() - timedelta(seconds=2 * settings.CANARY_SECONDS))
        node = Node.objects.filter(name=settings.NODE_NAME, queue=queue)
        return node.filter(lately | Q(renders__state=State.RUNNING)).exists()
    except Error:
        connection.close()
        return True  # Nobody can answer now.
