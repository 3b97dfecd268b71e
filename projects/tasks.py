"""What django-q2 runs. The names are stored in tickets and schedules: they never change."""

import time
from collections.abc import Callable

from projects import tickets

SECONDS_AT_ONCE = 3.0  # What is left then is for another ticket, behind those of the renders that wait.


def tend_assets() -> None:
    from projects import asset_checks, discards  # The first decodes media: nothing that a web process should load.

    asset_checks.expire()
    # What a check has made useless goes at once: it is a second copy of a file, or one that was refused.
    _work_off("tend_assets", lambda: discards.delete_next() or asset_checks.check_next())


def deliver_webhooks() -> None:
    from projects import webhook_delivery, webhook_events

    while webhook_events.hand_out():
        pass
    webhook_delivery.send_in_background()


def delete_media() -> None:
    from projects import deletions, discards

    _work_off("delete_media", deletions.sweep_next)
    _work_off("delete_media", discards.delete_next)


def keep_retention() -> None:
    from projects import retention

    retention.run()


def _work_off(task: str, do_next: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_AT_ONCE
    while do_next():
        if time.monotonic() > deadline:
            tickets.ring(task)
            return
