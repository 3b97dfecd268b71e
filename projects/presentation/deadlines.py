"""The warning that a render will probably miss a deadline."""

from django.utils import timezone

from render.deadlines import BEFORE_THE_ENGINE
from render.estimates.completion import Estimate
from render.models import Render


def unlikely_deadlines(render: Render, estimate: Estimate) -> list[dict[str, str]]:
    """A warning for each deadline that, by the estimate, the render will miss. It is only a hint, so this machine's
    clock is good enough.
    """
    now = timezone.now()
    has_begun = render.begun_at is not None or render.phase not in BEFORE_THE_ENGINE
    start = None if has_begun else render.start_deadline_at
    expected = [
        ("start_deadline_seconds", "begin", start, estimate.start_seconds),
        ("total_deadline_seconds", "be finished", render.total_deadline_at, estimate.eta_seconds),
    ]
    warnings = []
    for param, what, deadline, seconds in expected:
        if deadline is None or seconds is None:
            continue
        left = (deadline - now).total_seconds()
        if seconds > left:
            # The time, not the seconds left, with which the response and its ETag would change each second.
            detail = f"By the estimate it will {what} later than {deadline:%Y-%m-%dT%H:%M:%SZ}, the deadline."
            warnings.append({"param": param, "code": "deadline_unlikely", "detail": detail})
    return warnings
