"""The endpoints under /api/v1/usage."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api import query_parameters
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.billing import quota, reports, statements, usage_csv
from accounts.billing.serializers import (
    SINGLE_USAGE,
    EntriesQuery,
    EntrySerializer,
    StatementQuery,
    StatementSerializer,
    UsageQuery,
)
from accounts.errors import ServiceError
from accounts.models import Scope, UsageEntry
from accounts.periods import MONTH_PATTERN, Period, parse_month


@extend_schema(tags=["usage"])
class UsageViewSet(mixins.ListModelMixin, KeyedView, GenericViewSet[UsageEntry]):
    serializer_class = EntrySerializer
    pagination_class = EnvelopePagination
    required_scopes = {"list": Scope.USAGE_READ, "entries": Scope.USAGE_READ, "statement": Scope.USAGE_READ}

    @extend_schema(
        summary="Sum up usage",
        parameters=[UsageQuery],
        responses={200: SINGLE_USAGE, (200, "text/csv"): OpenApiTypes.STR},
    )
    def list(self, request: Request) -> StreamingHttpResponse | Response:  # type: ignore[override]
        """Sums by day, month, API key, user, engine, size or upscaling, and always by currency.

        More than 10,000 groups are refused with 422.
        """
        query = query_parameters.read(UsageQuery, request)
        rows = self._rows(query)
        period: Period = query["period"]
        groups = reports.grouped(rows, query["group_by"])
        if query["as"] == "csv":
            return _file(usage_csv.groups_csv(groups, query["group_by"]), f"usage-{period.start}-{period.end}.csv")
        # Not by UsageSerializer: a group has only the members that were asked for in group_by.
        return Response(
            {"start": period.start, "end": period.end, "data": groups, "totals": reports.totals(rows)},
        )

    @extend_schema(
        summary="List usage row by row",
        parameters=[EntriesQuery],
        responses={200: EntrySerializer(many=True), (200, "text/csv"): OpenApiTypes.STR},
    )
    @action(detail=False)
    def entries(self, request: Request) -> StreamingHttpResponse | Response:
        """One row per render and one per credit or correction. `as=csv` returns all of them in one file."""
        query = query_parameters.read(EntriesQuery, request)
        rows = reports.with_key_prefix(self._rows(query))
        if query["as"] == "json":
            page = self.paginate_queryset(rows)
            assert page is not None
            return self.get_paginated_response(EntrySerializer(page, many=True).data)
        period: Period = query["period"]
        if query["as"] == "focus":
            settled = rows.filter(reports.SETTLED)
            lines = usage_csv.focus_csv(reports.chunked(settled), self.api_key.tenant, period)
        else:
            lines = usage_csv.entries_csv(reports.chunked(rows))
        return _file(lines, f"usage-{period.start}-{period.end}-{query['as']}.csv")

    @extend_schema(
        summary="Get the statement of a month",
        parameters=[
            OpenApiParameter("month", str, OpenApiParameter.PATH, description="YYYY-MM"),
            StatementQuery,
        ],
        responses={200: StatementSerializer, (200, "text/html"): OpenApiTypes.STR},
    )
    @action(detail=False, url_path=rf"statements/(?P<month>{MONTH_PATTERN})")
    def statement(self, request: Request, month: str) -> HttpResponse | Response:
        """For the current month: the charges and adjustments so far."""
        key, query = self.api_key, query_parameters.read(StatementQuery, request)
        try:
            first = parse_month(month)
        except ValueError as error:
            raise ServiceError("not_found", str(error)) from None
        if first > timezone.now().date():
            raise ServiceError("not_found", f"The month {month} has not begun (UTC).")
        statement = statements.make(key.tenant, first, is_test=key.is_test)
        if query["as"] == "html":
            return HttpResponse(statements.as_html(statement))
        return Response(StatementSerializer(statement).data)

    def _rows(self, query: dict[str, Any]) -> QuerySet[UsageEntry]:
        key = self.api_key
        rows = quota.entries(key.tenant, query["period"], is_test=key.is_test)
        return rows.filter(user_label=query["user_id"]) if "user_id" in query else rows


def _file(lines: Iterator[str], name: str) -> StreamingHttpResponse:
    """Return a download that is read from the database while it is sent, so its length does not matter."""
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
