"""The tasks that django-q2 runs. Their names are stored in tickets and schedules, so they never change."""

import time
from collections.abc import Callable

from projects.enqueue import enqueue_task

SECONDS_AT_ONCE = 3.0  # The rest is left to another ticket, so that renders and chores take turns.


def tend_assets() -> None:
    # Imported here: `verification` decodes media, which no web process should load.
    from projects.assets import discards, verification

    verification.expire()
    # Deletes at once what a check leaves behind: a second copy of a file, or one that was refused.
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
    """Do the steps in turn, each until it has nothing to do. After SECONDS_AT_ONCE another ticket goes on."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    while steps:
        steps = tuple(step for step in steps if step())
        if steps and time.monotonic() > deadline:
            enqueue_task(task)
            return
