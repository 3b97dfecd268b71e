"""What follows when an attempt ends without the video: another one after a delay, or the render's failure."""

from typing import Any

from django.conf import settings
from django.db.models import Max, Min

from accounts.errors import ServiceError
from render.engines import registry
from render.fence import Claim, fence
from render.lifecycle import progress, transitions
from render.lifecycle.planned_segments import WrongSegments
from render.models import Attempt, Phase, Render, State


def retry_later(claim: Claim, error: ServiceError, *, trace: str, of_storage: bool = False, anew: bool = False) -> None:
    """Queue the render again after a delay, or fail it with `error` after too many failures without a new segment.

    of_storage: the media storage failed, which is counted apart and gets about a day to come back.
    anew: begin again with the customer's files. `progress.prepared` then drops what was recorded before.
    """
    changes: dict[str, Any] = {"queue": transitions.COMMON_QUEUE, "phase": Phase.PREPARE, "progress": 0} if anew else {}
    counter = "storage_failures" if of_storage else "failures"
    delays = settings.STORAGE_RETRY_DELAYS if of_storage else settings.RENDER_RETRY_DELAYS
    limit = len(delays) + 1 if of_storage else settings.RENDER_MAX_FAILURES
    with fence(claim) as render:
        failures = 1 if not anew and _has_got_further(render) else getattr(render, counter) + 1
        Render.objects.filter(pk=render.pk).update(**{counter: failures, "error_trace": trace})
        if anew:  # Also if the render ends now: a later take of the project must not go on from here either.
            Render.objects.filter(pk=render.pk).update(sources=None)
        if failures >= limit:
            transitions.end_attempt(claim, Attempt.Outcome.FAILED)
            transitions.close(render, State.FAILED, error, trace=trace)
        else:
            transitions.requeue(
                claim, render, Attempt.Outcome.FAILED, delay=transitions.nth(delays, failures), **changes
            )


def render_again(claim: Claim, wrong: WrongSegments, *, trace: str) -> None:
    """Drop the wrong segment with all after it, or all where an engine keeps a checkpoint, and queue the render again.

    Each time counts as one more failure, although segments were recorded in between: RENDER_MAX_FAILURES failures end
    the render.
    """
    error = ServiceError("internal", "The render failed because of an internal error.")
    with fence(claim) as render:
        failures = render.failures + 1
        kept = render.segments.filter(index__lt=wrong.first)
        # Only the newest checkpoint of an engine is kept, so nothing can go on from an earlier one.
        first = 0 if kept.exclude(state_key="").exists() else wrong.first
        render.segments.filter(index__gte=first).delete()
        Render.objects.filter(pk=render.pk).update(failures=failures, error_trace=trace)
        if failures >= settings.RENDER_MAX_FAILURES:
            transitions.end_attempt(claim, Attempt.Outcome.FAILED)
            transitions.close(render, State.FAILED, error, trace=trace)
            return
        assert render.segments_total
        transitions.requeue(
            claim,
            render,
            Attempt.Outcome.FAILED,
            delay=transitions.nth(settings.RENDER_RETRY_DELAYS, failures),
            queue=registry.queue_of(render.engine) if render.engine in registry.names() else render.queue,
            phase=Phase.WAITING,
            progress=progress.of_rendering(first / render.segments_total),
        )


def reap(render: Render) -> None:
    """Take a running render from a worker that no longer renews its lease. Its recorded segments stay.

    The caller has locked the render's row.
    """
    claim = Claim(render.pk, render.attempt)
    crashes = 1 if _has_got_further(render) else render.crashes + 1
    Render.objects.filter(pk=render.pk).update(crashes=crashes)
    if render.cancel_requested_at is not None:
        transitions.end_attempt(claim, Attempt.Outcome.LEASE_LOST)
        transitions.close(render, State.CANCELED, transitions.canceled())
    elif crashes >= settings.RENDER_MAX_CRASHES:
        transitions.end_attempt(claim, Attempt.Outcome.LEASE_LOST)
        transitions.close(
            render, State.FAILED, ServiceError("worker_lost", f"The worker was lost {crashes} times in a row.")
        )
    else:
        transitions.requeue(
            claim, render, Attempt.Outcome.LEASE_LOST, delay=transitions.nth(settings.RENDER_RETRY_DELAYS, crashes)
        )


def _has_got_further(render: Render) -> bool:
    """Whether its latest attempt has recorded a segment that no earlier one had; failures then count from 1 again.

    False if segments were lost before: otherwise the same ones could be rendered and lost again without an end.
    """
    attempts = render.segments.aggregate(first=Min("attempt"), latest=Max("attempt"))
    if attempts["latest"] != render.attempt:
        return False
    lost = render.attempts.filter(render_seconds__gt=0, number__lt=attempts["first"])
    return not lost.exists()
