"""The queue (django-q2), and the times after which a worker or a render counts as stuck.

django-q2 carries tickets only: a ticket names no render, it makes a worker look for one. Retries, leases and the reaper
are in our own tables. So a ticket that is delivered twice, because its render takes longer than `retry`, does no harm.
"""

from typing import Any

from creatorify.settings.base import env

RENDER_TIMEOUT_SECONDS = env.whole("RENDER_TIMEOUT_SECONDS", 2700, least=1)  # without a step forward of a render
RENDER_LEASE_SECONDS = env.number("RENDER_LEASE_SECONDS", 60)
RENDER_LEASE_RENEW_SECONDS = env.number("RENDER_LEASE_RENEW_SECONDS", 10)
RENDER_HANG_SECONDS = env.number("RENDER_HANG_SECONDS", 900)  # Kill a worker this long after its render ended.
RENDER_OUTAGE_SECONDS = env.number("RENDER_OUTAGE_SECONDS", 600)  # A worker goes on so long without the database.
REAPER_INTERVAL_SECONDS = env.number("REAPER_INTERVAL_SECONDS", 15)
CANARY_SECONDS = env.number("CANARY_SECONDS", 60)  # A queue that leaves ten canaries in a row unanswered ends itself.
CPU_WORKERS = env.whole("CPU_WORKERS", 2, least=1)  # All but one of them may prepare sources of the same tenant.

# The lease ends a stuck render. This ends a worker which the lease's thread cannot end. It counts from the last step
# forward, see `render.cluster.ticket_clock`, so the time of a whole ticket depends on the length of its video.
_TICKET_TIMEOUT = round(RENDER_TIMEOUT_SECONDS + RENDER_HANG_SECONDS + 5 * RENDER_LEASE_SECONDS)
Q_CLUSTER: dict[str, Any] = {
    "name": "creatorify",
    "cluster_name": "cpu",
    "label": "Queue",
    "orm": "default",
    "broker_class": "render.cluster.broker.PatientBroker",
    "save_limit": -1,
    "guard_cycle": 0.5,
    "catch_up": False,
    "ack_failures": True,
    "max_attempts": 1,
    "bulk": 1,
    "workers": CPU_WORKERS,
    "queue_limit": CPU_WORKERS,
    "timeout": _TICKET_TIMEOUT,
    # At least timeout * (queue_limit / workers + 2), the longest wait of a prefetched ticket (check creatorify.E001). A
    # long `retry` costs nothing: it is the lease and the reaper that bring back a lost render.
    "retry": 4 * _TICKET_TIMEOUT,
    "recycle": 500,
    "poll": 0.1,
    "scheduler": True,
    "log_level": "WARNING",
    "ALT_CLUSTERS": {
        "gpu": {"workers": 1, "queue_limit": 1, "recycle": 10**9, "max_rss": None, "poll": 0.1, "scheduler": False}
    },
}
