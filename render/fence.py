"""The fencing token: only the worker that holds a render may write to it.

`Render.attempt` grows with each claim and is the token. A worker that has lost its lease without noticing finds no row
under its token and gets `Fenced`: it can neither write nor charge, however late it wakes up.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, QuerySet
from django.db.models.functions import Greatest, Now

from render import deadlines
from render.models import Node, Render, State


class Fenced(Exception):
    """This worker no longer holds the render: it was canceled, reaped, or ended by somebody else."""


class CancelRequested(Exception):
    """The customer has requested that the render be canceled."""


@dataclass(frozen=True)
class Claim:
    """A render and the fencing token of the worker that holds it."""

    render_id: uuid.UUID
    attempt: int


@contextmanager
def fence(claim: Claim) -> Iterator[Render]:
    """A transaction in which the render is locked and held by the claim. Raises Fenced."""
    with transaction.atomic():
        render = _held(claim).select_for_update(no_key=True).first()
        if render is None:
            raise Fenced
        yield render


def renew(claim: Claim, *, progress: int | None = None) -> tuple[Render, bool]:
    """Renew the lease; return the render with its node, which say whether to stop or to drain, and whether the render
    has missed a deadline. Raises Fenced.

    progress: in percent; a smaller value than the recorded one is ignored. A late renewal succeeds as long as the
    reaper has not taken the render: the token decides, not the clock.
    """
    changes = {} if progress is None else {"progress": Greatest("progress", progress)}
    renewed = _held(claim).update(lease_until=lease_end(), heartbeat_at=Now(), **changes)
    if not renewed:
        raise Fenced
    is_overdue = ExpressionWrapper(deadlines.MISSED, output_field=BooleanField())
    render = Render.objects.select_related("node").annotate(is_overdue=is_overdue).get(pk=claim.render_id)
    Node.objects.filter(renders=render).update(heartbeat_at=Now())
    return render, render.is_overdue


def lease_end() -> object:
    """When a lease that is taken or renewed now ends, by the database's clock."""
    return Now() + timedelta(seconds=settings.RENDER_LEASE_SECONDS)


def _held(claim: Claim) -> QuerySet[Render]:
    return Render.objects.filter(pk=claim.render_id, attempt=claim.attempt, state=State.RUNNING)
