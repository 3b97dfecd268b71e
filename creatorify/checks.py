"""System checks: settings that would only show their harm in production, told at start-up."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def check_queue(**_: Any) -> Iterable[CheckMessage]:
    """A ticket must not come a second time while the first is still being worked on or waiting behind another."""
    common = {name: value for name, value in settings.Q_CLUSTER.items() if name != "ALT_CLUSTERS"}
    clusters = {common["cluster_name"]: common}
    clusters |= {name: {**common, **changes} for name, changes in settings.Q_CLUSTER["ALT_CLUSTERS"].items()}
    for name, cluster in clusters.items():
        needed = cluster["timeout"] * (cluster["queue_limit"] / cluster["workers"] + 2)
        if cluster["retry"] < needed:
            yield Error(
                f"Q_CLUSTER {name}: retry is {cluster['retry']} s and must be at least {needed:g} s.",
                hint="retry >= timeout * (queue_limit / workers + 2)",
                id="creatorify.E001",
            )
        if (cluster["guard_cycle"] * 4) % 1:
            # It counts down to exactly zero: a step without an exact binary form never gets there.
            yield Error(f"Q_CLUSTER {name}: guard_cycle must be a multiple of 0.25 s.", id="creatorify.E002")


@register()
def check_lease(**_: Any) -> Iterable[CheckMessage]:
    if settings.RENDER_LEASE_SECONDS < 3 * settings.RENDER_LEASE_RENEW_SECONDS:
        yield Error(
            "RENDER_LEASE_SECONDS must be at least three times RENDER_LEASE_RENEW_SECONDS.",
            hint="A worker must be able to miss two renewals and still keep its render.",
            id="creatorify.E003",
        )


@register()
def check_engines(**_: Any) -> Iterable[CheckMessage]:
    if settings.DEFAULT_ENGINE not in settings.RENDER_ENGINES:
        yield Error(
            f"DEFAULT_ENGINE is {settings.DEFAULT_ENGINE}, which is not installed.",
            hint=f"Choose one of: {', '.join(settings.RENDER_ENGINES)}",
            id="creatorify.E004",
        )


@register(deploy=True)
def check_private_sources(**_: Any) -> Iterable[CheckMessage]:
    if settings.ALLOW_PRIVATE_MEDIA_URLS:
        yield Warning(
            "ALLOW_PRIVATE_MEDIA_URLS is on: a customer can make this machine read addresses of its private network.",
            id="creatorify.W001",
        )
