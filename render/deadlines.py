"""The deadlines of a render: when one is missed, and what the customer is told then.

A render may have to begin by `start_deadline_at` and to be finished by `total_deadline_at`, both by the database's
clock. It has begun when its engine has begun with it for the first time; while it is prepared, or waits for a GPU, it
has not. A render that has missed a deadline is not claimed (`render.queue.selection`). The reaper fails it if it is
queued, and its worker if it is running: when the lease is renewed, or in the step that would take it further. After the
lease of a dead worker it is the reaper, when it would queue the render again.
"""

from datetime import datetime
from math import ceil

from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now

from accounts.errors import ServiceError
from render.models import Phase, Render

BEFORE_THE_ENGINE = [Phase.PREPARE, Phase.WAITING]

MISSED_TOTAL = Q(total_deadline_at__lte=Now())
# The phase as well, because workers of an older version do not record `begun_at`. A retry that has nothing left to
# render is in a later phase from the outset: its engine need not begin.
MISSED_START = Q(start_deadline_at__lte=Now(), begun_at=None, phase__in=BEFORE_THE_ENGINE)
MISSED = MISSED_TOTAL | MISSED_START  # Renders that have missed a deadline, among those that have not ended.

_WHICH = Case(When(MISSED_TOTAL, then=Value("total")), When(MISSED_START, then=Value("start")), default=Value(""))


def missed(render: Render) -> ServiceError | None:
    """The error `deadline_exceeded` if the render has missed a deadline by now. The caller has locked its row.

    It asks the database for the time only if the render has a deadline.
    """
    if render.start_deadline_at is None and render.total_deadline_at is None:
        return None
    which = Render.objects.filter(pk=render.pk).values_list(_WHICH, flat=True).get()
    if which == "total":
        return _error(render, "was not finished", render.total_deadline_at, "total_deadline_seconds")
    if which == "start":
        return _error(render, "had not begun", render.start_deadline_at, "start_deadline_seconds")
    return None


def require_kept(render: Render) -> None:
    """Raises ServiceError `deadline_exceeded`, see `missed`."""
    error = missed(render)
    if error is not None:
        raise error


def _error(render: Render, what: str, deadline: datetime | None, field: str) -> ServiceError:
    assert deadline is not None
    # Rounded up, since the render is inserted some milliseconds after its hold, from whose time deadlines are counted.
    seconds = ceil((deadline - render.created_at).total_seconds())
    detail = f"The render {what} {seconds} s after its creation ({field}); it was {render.state}, phase {render.phase}."
    # Without a `param`: that would say that the request is at fault, and a retry would begin anew.
    return ServiceError("deadline_exceeded", detail)
