"""Whether a queue's workers work: its pusher regularly gives them a task that records that it ran.

The death of a worker is noticed at once, see `render.cluster.hardening`. The watchdog is for unforeseen faults in which
all processes are alive and do nothing. It ends the cluster, and the cluster's supervisor starts a new one.

In the database and in the settings the task is called a canary.
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

SILENCES = 10  # After so many tasks without an answer the cluster ends; a large upload's check may take minutes.


def watch(task_queue: Any, queue: str, *, exit_status: int) -> None:
    """Run for as long as the pusher lives; end the process with `exit_status` when the workers do nothing."""
    answered_at = time.monotonic()
    while True:
        _send(task_queue, queue)
        time.sleep(settings.CANARY_SECONDS)
        if _is_alive(queue):
            answered_at = time.monotonic()
        elif time.monotonic() - answered_at > SILENCES * settings.CANARY_SECONDS:
            logger.critical("The workers of queue %s do nothing: the cluster ends", queue)
            os._exit(exit_status)


def answer(queue: str) -> None:
    """The task: record that a worker has run it."""
    Node.objects.update_or_create(name=settings.NODE_NAME, queue=queue, defaults={"canary_at": Now()})


def _send(task_queue: Any, queue: str) -> None:
    # Not by the broker, which would give it to any node. The fields are those of django_q.tasks.async_task.
    task = {
        "id": uuid.uuid4().hex,
        "name": f"canary-{queue}",
        "func": "render.tasks.run_canary",
        "args": (queue,),
        "kwargs": {},
        "started": timezone.now(),
    }
    with contextlib.suppress(Full):  # The workers are busy, or stuck: `_is_alive` tells which.
        task_queue.put_nowait(task)


def _is_alive(queue: str) -> bool:
    """Whether a worker has answered lately, or holds a render: for that its lease is responsible."""
    close_old_connections()
    try:
        lately = Q(canary_at__gt=Now() - timedelta(seconds=2 * settings.CANARY_SECONDS))
        node = Node.objects.filter(name=settings.NODE_NAME, queue=queue)
        return node.filter(lately | Q(renders__state=State.RUNNING)).exists()
    except Error:
        connection.close()
        return True  # While the database is unavailable no worker can answer.
