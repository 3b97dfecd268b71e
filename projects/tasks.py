"""What django-q2 runs. The names are stored in tickets and schedules: they never change."""

import time
from collections.abc import Callable

from projects.enqueue import enqueue_task

SECONDS_AT_ONCE = 3.0  # What is left then is for another ticket: renders and chores take turns.


def tend_assets() -> None:
    from projects.assets import (  # The first decodes media: nothing that a web process should load.
        discards,
        verification,
    )

    verification.expire()
    # What a check has made useless goes at once: it is a second copy of a file, or one that was refused.
    _work_off("tend_assets", verification.check_next, discards.delete_next)


def deliver_webhooks() -> None:
    from projects.webhooks import delivery, outbox

    _work_off("deliver_webhooks", lambda: outbox.fan_out() > 0)
    delivery.send_in_background()


def delete_media() -> None:
    from projects.assets import discards
    from projects.retention import project_deletion

    _work_off("delete_media", project_deletion.sweep_next, discards.delete_next)


def keep_retention() -> None:
    from projects.retention import policy as retention

    retention.run()


def _work_off(task: str, *steps: Callable[[], bool]) -> None:
    """Do the steps by turns, each until it has nothing to do; after some seconds the rest is left to another ticket."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    while steps:
        steps = tuple(step for step in steps if step())
        if steps and time.monotonic() > deadline:
            enqueue_task(task)
            return
