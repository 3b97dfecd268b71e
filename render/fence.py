"""The fencing token: who holds a render may write, and nobody else.

`Render.attempt` grows with each claim. A worker that lost its lease, without knowing, finds no row under its token and
gets `Fenced`; so it can neither write nor bill, however late it wakes up.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Greatest, Now

from render.models import Node, Render, State
from render.signals import render_changed


class Fenced(Exception):
    """The render is not ours any more: it was canceled, reaped, or ended by somebody else."""


class CancelRequested(Exception):
    """The customer wants the render to end."""


@dataclass(frozen=True)
class Claim:
    render_id: uuid.UUID
    attempt: int


@contextmanager
def fence(claim: Claim) -> Iterator[Render]:
    """A transaction in which the render is locked and ours. Raises Fenced. Announces the change at its end."""
    with transaction.atomic():
        render = _held(claim).select_for_update(no_key=True).first()
        if render is None:
            raise Fenced
        yield render
        announce(render)


def renew(claim: Claim, *, progress: int | None = None) -> Render:
    """Renew the lease; return the row, to see what is asked of the worker. Raises Fenced. progress: never goes back.

    A late renewal is allowed as long as nobody has reaped: the token decides, not the clock.
    """
    changes = {} if progress is None else {"progress": Greatest("progress", progress)}
    renewed = _held(claim).update(lease_until=lease_end(), heartbeat_at=Now(), **changes)
    if not renewed:
        raise Fenced
    render = Render.objects.select_related("node").get(pk=claim.render_id)
    Node.objects.filter(renders=render).update(heartbeat_at=Now())
    return render


def announce(render: Render) -> None:
    """Tell the layers above, in the transaction of the change."""
    render.refresh_from_db()
    render_changed.send(sender=Render, render=render)


def lease_end() -> object:
    """When a lease taken or renewed now ends, by the clock of the database."""
    return Now() + timedelta(seconds=settings.RENDER_LEASE_SECONDS)


def _held(claim: Claim) -> QuerySet[Render]:
    return Render.objects.filter(pk=claim.render_id, attempt=claim.attempt, state=State.RUNNING)
