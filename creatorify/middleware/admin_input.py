"""Refuses addresses that Django's admin does not survive: it builds look-ups from them, and lets the database object.

The API checks its input by itself.
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
SELECTED = "_selected_action"  # of the rows that are ticked in a list
LARGEST_OFFSET = timedelta(hours=15)  # from UTC; Postgres takes less than 16
PARTS_OF_DATES = {"year": YEARS, "month": range(1, 13), "day": range(1, 32)}


class AdminInputMiddleware:
    """Answers 400 to NUL bytes in an address or a selection, and to dates that there are none."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(PREFIX):
            given = [(name, value) for name, values in request.GET.lists() for value in values]
            texts = [request.path_info, *(text for pair in given for text in pair)]
            if any("\0" in text for text in texts) or not all(_is_possible(*pair) for pair in given):
                raise BadRequest("This address has a NUL byte, or a date that there is none.")
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Django's admin marks its views with the admin that they belong to."""
        model_admin = getattr(view, "model_admin", None)
        if model_admin is not None and request.method == "POST":
            for selected in request.POST.getlist(SELECTED):
                try:
                    model_admin.model._meta.pk.to_python(selected)
                except (ValidationError, ValueError):
                    raise BadRequest("What is selected is no row.") from None
                if "\0" in selected:
                    raise BadRequest("What is selected is no row.")


def _is_possible(name: str, value: str) -> bool:
    if "__" not in name:
        return True
    part = PARTS_OF_DATES.get(name.rpartition("__")[2])
    if part is not None:
        return re.fullmatch("[0-9]{1,4}", value) is not None and int(value) in part
    try:
        moment = parse_datetime(value)
    except ValueError:  # Django's admin answers to it.
        return True
    if moment is None:
        return True
    offset = moment.utcoffset() or timedelta(0)
    return moment.year in YEARS and abs(offset) <= LARGEST_OFFSET
