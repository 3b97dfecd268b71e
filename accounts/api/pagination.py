"""Pages of lists: `{"data": [...], "has_more": ..., "next_cursor": ...}`. `GET /projects` has a form of its own."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.utils.dateparse import parse_datetime
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import query_parameters
from accounts.errors import ServiceError
from accounts.periods import YEARS


class LimitField(serializers.IntegerField):
    """The size of a page. A larger number than `maximum` is not an error: it counts as `maximum`."""

    def __init__(self, *, maximum: int, default: int) -> None:
        self._maximum = maximum
        super().__init__(min_value=1, default=default)

    def to_internal_value(self, data: Any) -> int:
        return min(super().to_internal_value(data), self._maximum)


class LimitQuery(serializers.Serializer[Any]):
    limit = LimitField(maximum=100, default=20)


class EnvelopePagination(CursorPagination):
    page_size = 20
    page_size_query_param = "limit"
    page_size_query_description = "Rows per page: 1 or more; more than 100 counts as 100. Default: 20."
    ordering = ("-created_at", "-pk")

    def get_page_size(self, request: Request) -> int:
        limit: int = query_parameters.read(LimitQuery, request)["limit"]
        return limit

    def decode_cursor(self, request: Request) -> Any:
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            raise _invalid_cursor() from None
        # DRF puts the position into the query unchecked. Anything but the time of a row would be an error there.
        if cursor is not None and cursor.position is not None and not _is_created_at(cursor.position):
            raise _invalid_cursor()
        return cursor

    def get_paginated_response(self, data: Any) -> Response:
        link = self.get_next_link()
        cursor = parse_qs(urlsplit(link).query)[self.cursor_query_param][0] if link else None
        return Response({"data": data, "has_more": link is not None, "next_cursor": cursor})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties = {
            "data": schema,
            "has_more": {"type": "boolean"},
            "next_cursor": {"type": ["string", "null"], "description": "The `cursor` of the next page."},
        }
        return {"type": "object", "properties": properties, "required": list(properties)}


def _is_created_at(text: Any) -> bool:
    try:
        moment = parse_datetime(str(text))
    except ValueError:
        return False
    return moment is not None and moment.utcoffset() == timedelta(0) and moment.year in YEARS


def _invalid_cursor() -> ServiceError:
    return ServiceError("invalid_cursor", "This cursor is not one of ours.", param="cursor")
