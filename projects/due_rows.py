"""How a worker claims one of the rows that are due, so that no other one does the same work."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.functions import Now

Row = TypeVar("Row", bound=Model)


@transaction.atomic
def claim_first(
    due: QuerySet[Row], *, time_field: str, again_after: Callable[[Row], timedelta], counter: str | None = None
) -> Row | None:
    """Lock the first row of `due` that no other worker has locked, and make it due again only after a while.

    A worker that dies with the row thus delays its work and loses nothing. The worker that has done the work deletes
    the row, or writes another time.

    due: in the order in which the rows are to be claimed. time_field: the name of the field that says when a row is
    due. counter: the name of a field that counts the claims, raised by one after `again_after` was asked.
    """
    row = due.select_for_update(of=("self",), skip_locked=True, no_key=True).first()
    if row is None:
        return None
    changes: dict[str, Any] = {time_field: Now() + again_after(row)}
    if counter is not None:
        setattr(row, counter, getattr(row, counter) + 1)
        changes[counter] = getattr(row, counter)
    due.model._default_manager.filter(pk=row.pk).update(**changes)
    return row
