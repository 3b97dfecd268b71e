"""Lists of the newer collections: `{"data": [...], "has_more": ..., "next_cursor": ...}`."""

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
from accounts.billing import reports
from accounts.errors import ServiceError


class LimitField(serializers.IntegerField):
    """More than the most is the most: who asks for everything gets a page, and `has_more`."""

    def __init__(self, *, most: int, default: int) -> None:
        self._most = most
        super().__init__(min_value=1, default=default)

    def to_internal_value(self, data: Any) -> int:
        return min(super().to_internal_value(data), self._most)


class LimitQuery(serializers.Serializer[Any]):
    limit = LimitField(most=100, default=20)


class EnvelopePagination(CursorPagination):
    page_size = 20
    page_size_query_param = "limit"
    page_size_query_description = "1 or more; more than 100 is 100. Default: 20."
    ordering = ("-created_at", "-pk")

    def get_page_size(self, request: Request) -> int:
        limit: int = query_parameters.read(LimitQuery, request)["limit"]
        return limit

    def decode_cursor(self, request: Request) -> Any:
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            raise _not_ours() from None
        # It goes into the query as it is: only a moment of these times is one of ours.
        if cursor is not None and cursor.position is not None and not _is_moment(cursor.position):
            raise _not_ours()
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


def _is_moment(text: Any) -> bool:
    try:
        moment = parse_datetime(str(text))
    except ValueError:
        return False
    return moment is not None and moment.utcoffset() == timedelta(0) and moment.year in reports.YEARS


def _not_ours() -> ServiceError:
    return ServiceError("invalid_cursor", "This cursor is not one of ours.", param="cursor")
