"""Refuses URLs from which Django's admin would build invalid queries, so that they are a 400 and not a 500.

The API checks its input itself.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.exceptions import BadRequest, ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime

from accounts.periods import YEARS

PREFIX = "/admin/"
SELECTED = "_selected_action"  # the admin's form field of the rows that are ticked in a list
LARGEST_OFFSET = timedelta(hours=15)  # from UTC; Postgres accepts less than 16
PARTS_OF_DATES = {"year": YEARS, "month": range(1, 13), "day": range(1, 32)}


class AdminInputMiddleware:
    """Refuses NUL bytes in URLs and selections, selections that are not ids, and dates that do not exist."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(PREFIX):
            query = [(name, value) for name, values in request.GET.lists() for value in values]
            texts = [request.path_info, *(text for parameter in query for text in parameter)]
            if any("\0" in text for text in texts) or not all(_is_possible(name, value) for name, value in query):
                raise BadRequest("This address has a NUL byte, or a date that does not exist.")
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Checks the selection of an action. Django's admin sets `model_admin` on its views."""
        model_admin = getattr(view, "model_admin", None)
        if model_admin is not None and request.method == "POST":
            for selected in request.POST.getlist(SELECTED):
                try:
                    model_admin.model._meta.pk.to_python(selected)
                except (ValidationError, ValueError):
                    raise BadRequest("A selected row does not exist.") from None
                if "\0" in selected:
                    raise BadRequest("A selected row does not exist.")


def _is_possible(name: str, value: str) -> bool:
    """Whether the value of a filter such as `created_at__gte` or `created_at__year` is no date, or an existing one."""
    if "__" not in name:
        return True
    part = PARTS_OF_DATES.get(name.rpartition("__")[2])
    if part is not None:
        return re.fullmatch("[0-9]{1,4}", value) is not None and int(value) in part
    try:
        moment = parse_datetime(value)
    except ValueError:  # Django's admin handles it.
        return True
    if moment is None:
        return True
    offset = moment.utcoffset() or timedelta(0)
    return moment.year in YEARS and abs(offset) <= LARGEST_OFFSET
