"""The endpoints under /api/v1/usage."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api import query_parameters
from accounts.api.pagination import EnvelopePagination
from accounts.api.views import KeyedView
from accounts.billing import csv as usage_csv
from accounts.billing import reports, statements
from accounts.billing.reports import Period
from accounts.errors import ServiceError
from accounts.models import Scope, UsageEntry

MAX_DAYS = 366


class DayField(serializers.DateField):
    def to_internal_value(self, value: Any) -> date:
        day: date = super().to_internal_value(value)
        if day.year not in reports.YEARS or not str(value).isascii():
            raise serializers.ValidationError(
                f"A day from {reports.YEARS.start} to {reports.YEARS.stop - 1}, YYYY-MM-DD."
            )
        return day


class PeriodQuery(serializers.Serializer[Any]):
    start = DayField(required=False, help_text="First day, UTC. Default: the first of this month.")
    end = DayField(required=False, help_text="The day after the last. Default: the first of next month.")
    user_id = serializers.CharField(required=False, max_length=200)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        start = values.get("start") or timezone.now().date().replace(day=1)
        end = values.get("end") or reports.next_month(start.replace(day=1))
        if not start < end <= start + timedelta(days=MAX_DAYS):
            raise serializers.ValidationError({"end": f"Must come after start, by {MAX_DAYS} days at most."})
        return {**values, "period": Period(start, end)}


class GroupField(serializers.CharField):
    def get_default(self) -> Any:
        return self.to_internal_value(super().get_default())

    def to_internal_value(self, data: Any) -> Any:
        names = list(dict.fromkeys(super().to_internal_value(data).split(",")))
        unknown = sorted(set(names) - reports.GROUPS.keys())
        if unknown:
            raise serializers.ValidationError(f"Any of {', '.join(reports.GROUPS)}, not {', '.join(unknown)}.")
        return names


class UsageQuery(PeriodQuery):
    group_by = GroupField(default="month", help_text=f"Separated by commas: {', '.join(reports.GROUPS)}.")
    as_ = serializers.ChoiceField(choices=["json", "csv"], default="json")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return _named_as(super().get_fields())


class EntriesQuery(PeriodQuery):
    as_ = serializers.ChoiceField(choices=["json", "csv", "focus"], default="json", help_text="`focus`: FOCUS 1.1.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return _named_as(super().get_fields())


class StatementQuery(serializers.Serializer[Any]):
    as_ = serializers.ChoiceField(choices=["json", "html"], default="json", help_text="`html` prints on paper.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return _named_as(super().get_fields())


class SumSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    renders = serializers.IntegerField(help_text="That have ended, billed or not.")
    billed_seconds = serializers.IntegerField()
    amount_micros = serializers.IntegerField(help_text="In millionths of the currency.")
    held_seconds = serializers.IntegerField(help_text="Of renders under way; in no amount.")


class GroupSerializer(SumSerializer):
    day = serializers.DateField(required=False)
    month = serializers.CharField(required=False)
    key = serializers.CharField(required=False, help_text="The API key's prefix.")
    user_id = serializers.CharField(required=False)
    engine = serializers.CharField(required=False)
    resolution = serializers.CharField(required=False)


class UsageSerializer(serializers.Serializer[Any]):
    start = serializers.DateField()
    end = serializers.DateField()
    data = GroupSerializer(many=True)  # type: ignore[assignment]
    totals = SumSerializer(many=True, help_text="One for each currency.")


class EntrySerializer(serializers.ModelSerializer[UsageEntry]):
    kind = serializers.ChoiceField(choices=["hold", "charge", "adjustment"])
    key = serializers.CharField(source="key_prefix")
    user_id = serializers.CharField(source="user_label")

    class Meta:
        model = UsageEntry
        fields = [
            *("id", "kind", "render_id", "key", "user_id", "engine", "resolution", "reserved_seconds"),
            *("billed_seconds", "price_micros", "amount_micros", "currency", "reason", "created_at", "settled_at"),
        ]


class LineSerializer(serializers.Serializer[Any]):
    engine = serializers.CharField()
    resolution = serializers.CharField()
    currency = serializers.CharField()
    price_micros = serializers.IntegerField(help_text="For one second.")
    renders = serializers.IntegerField()
    seconds = serializers.IntegerField()
    amount_micros = serializers.IntegerField(source="total_micros")


class StatementSumSerializer(SumSerializer):
    renders = serializers.IntegerField(help_text="That were billed: the sum of the lines.")
    billed_seconds = serializers.IntegerField(help_text="The sum of the lines and the adjustments.")
    amount_micros = serializers.IntegerField(
        help_text="In millionths of the currency: the sum of the lines and the adjustments."
    )


@extend_schema_field({"type": "string", "examples": ["2026-11"]})
class MonthField(serializers.DateField):
    pass


class StatementSerializer(serializers.Serializer[Any]):
    month = MonthField(format="%Y-%m")
    lines = LineSerializer(many=True)
    adjustments = serializers.SerializerMethodField()
    totals = StatementSumSerializer(many=True, help_text="One for each currency.")

    @extend_schema(responses=EntrySerializer(many=True))
    def get_adjustments(self, made: statements.Statement) -> list[dict[str, Any]]:
        return [
            {
                "created_at": serializers.DateTimeField().to_representation(row.created_at),
                "reason": row.reason,
                "seconds": row.billed_seconds,
                "amount_micros": row.amount_micros,
                "currency": row.currency,
            }
            for row in made.adjustments
        ]


# Of a list view it would be taken for one of many.
ONE_USAGE = forced_singular_serializer(UsageSerializer)  # type: ignore[no-untyped-call]


@extend_schema(tags=["usage"])
class UsageViewSet(mixins.ListModelMixin, KeyedView, GenericViewSet[UsageEntry]):
    serializer_class = EntrySerializer
    pagination_class = EnvelopePagination
    required_scopes = dict.fromkeys(("list", "entries", "statement"), Scope.USAGE_READ)

    @extend_schema(
        summary="Sum up usage",
        parameters=[UsageQuery],
        responses={200: ONE_USAGE, (200, "text/csv"): OpenApiTypes.STR},
    )
    def list(self, request: Request) -> StreamingHttpResponse | Response:  # type: ignore[override]
        """Of the rows of a period, by day, month, API key, user, engine or size, and always by currency.

        More than 10,000 groups are refused with 422.
        """
        query = query_parameters.read(UsageQuery, request)
        rows = self._rows(query)
        period: Period = query["period"]
        groups = reports.grouped(rows, query["group_by"])
        if query["as"] == "csv":
            return _file(usage_csv.groups_csv(groups, query["group_by"]), f"usage-{period.start}-{period.end}.csv")
        told = {"start": period.start, "end": period.end, "data": groups, "totals": reports.totals(rows)}
        # Only the members that were grouped by are there: a serializer would want all of them.
        return Response(told)

    @extend_schema(
        summary="List usage row by row",
        parameters=[EntriesQuery],
        responses={200: EntrySerializer(many=True), (200, "text/csv"): OpenApiTypes.STR},
    )
    @action(detail=False)
    def entries(self, request: Request) -> StreamingHttpResponse | Response:
        """One row a render, and one for each credit or correction; `as=csv` gives all of them in one file."""
        query = query_parameters.read(EntriesQuery, request)
        rows = reports.with_kind(self._rows(query))
        if query["as"] == "json":
            page = self.paginate_queryset(rows)
            assert page is not None
            return self.get_paginated_response(EntrySerializer(page, many=True).data)
        period: Period = query["period"]
        if query["as"] == "focus":
            settled = rows.filter(reports.SETTLED)
            lines = usage_csv.focus_csv(reports.chunked(settled), self.api_key.tenant, period)
        else:
            lines = usage_csv.own_csv(reports.chunked(rows))
        return _file(lines, f"usage-{period.start}-{period.end}-{query['as']}.csv")

    @extend_schema(
        summary="Get the statement of a month",
        parameters=[
            OpenApiParameter("month", str, OpenApiParameter.PATH, description="YYYY-MM"),
            StatementQuery,
        ],
        responses={200: StatementSerializer, (200, "text/html"): OpenApiTypes.STR},
    )
    @action(detail=False, url_path=r"statements/(?P<month>[0-9]{4}-(?:0[1-9]|1[0-2]))")
    def statement(self, request: Request, month: str) -> HttpResponse | Response:
        """Of the month under way, what has come so far."""
        key, query = self.api_key, query_parameters.read(StatementQuery, request)
        try:
            first = reports.month_of(month)
        except ValueError as error:
            raise ServiceError("not_found", str(error)) from None
        if first > timezone.now().date():
            raise ServiceError("not_found", f"The month {month} has not begun (UTC).")
        made = statements.make(key.tenant, first, is_test=key.is_test)
        if query["as"] == "html":
            return HttpResponse(statements.as_html(made))
        return Response(StatementSerializer(made).data)

    def _rows(self, query: dict[str, Any]) -> QuerySet[UsageEntry]:
        key = self.api_key
        rows = reports.entries(key.tenant, query["period"], is_test=key.is_test)
        return rows.filter(user_label=query["user_id"]) if "user_id" in query else rows


def _named_as(fields: dict[str, Any]) -> dict[str, Any]:
    """`as` is a word of Python's own."""
    return {name.rstrip("_"): field for name, field in fields.items()}


def _file(lines: Iterator[str], name: str) -> StreamingHttpResponse:
    """However long it is: what is not sent yet is not read yet."""
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
