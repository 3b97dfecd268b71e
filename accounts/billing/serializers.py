"""Queries and responses of the endpoints under /api/v1/usage."""

from datetime import date, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers

from accounts.api.fields import ChoiceField
from accounts.billing import reports
from accounts.billing.statements import Statement
from accounts.models import UsageEntry
from accounts.periods import YEARS, Period, next_month

MAX_DAYS = 366


class DayField(serializers.DateField):
    def to_internal_value(self, value: Any) -> date:
        day: date = super().to_internal_value(value)
        # DRF also accepts digits of other alphabets.
        if day.year not in YEARS or not str(value).isascii():
            raise serializers.ValidationError(f"A day from {YEARS.start} to {YEARS.stop - 1}, YYYY-MM-DD.")
        return day


class PeriodQuery(serializers.Serializer[Any]):
    """Validated values have a `period`, and `user_id` if there was one."""

    start = DayField(required=False, help_text="First day (UTC). Default: the first of this month.")
    end = DayField(required=False, help_text="Day after the last one. Default: the first of the month after `start`.")
    user_id = serializers.CharField(required=False, max_length=200)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        start = values.get("start") or timezone.now().date().replace(day=1)
        end = values.get("end") or next_month(start.replace(day=1))
        if not start < end <= start + timedelta(days=MAX_DAYS):
            raise serializers.ValidationError({"end": f"Must be after start, by {MAX_DAYS} days at most."})
        return {**values, "period": Period(start, end)}


class GroupField(serializers.CharField):
    """Names of `reports.GROUPS` with commas between them; the value is a list."""

    def get_default(self) -> Any:
        return self.to_internal_value(super().get_default())

    def to_internal_value(self, data: Any) -> Any:
        names = list(dict.fromkeys(super().to_internal_value(data).split(",")))
        unknown = sorted(set(names) - reports.GROUPS.keys())
        if unknown:
            raise serializers.ValidationError(f"Any of {', '.join(reports.GROUPS)}, not {', '.join(unknown)}.")
        return names


class FormatQuery(serializers.Serializer[Any]):
    """A query with the parameter `as`. This is a keyword of Python, so subclasses name the field `as_`."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}


class UsageQuery(FormatQuery, PeriodQuery):
    group_by = GroupField(default="month", help_text=f"Separated by commas: {', '.join(reports.GROUPS)}.")
    as_ = ChoiceField(choices=["json", "csv"], default="json")


class EntriesQuery(FormatQuery, PeriodQuery):
    as_ = ChoiceField(
        choices=["json", "csv", "focus"], default="json", help_text="`focus`: CSV with the columns of FOCUS 1.1."
    )


class StatementQuery(FormatQuery):
    as_ = ChoiceField(choices=["json", "html"], default="json", help_text="`html`: a page for printing.")


class SumSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    renders = serializers.IntegerField(help_text="Renders that have ended, billed or not.")
    billed_seconds = serializers.IntegerField()
    amount_micros = serializers.IntegerField(help_text="In millionths of the currency.")
    held_seconds = serializers.IntegerField(help_text="Held for renders that have not ended; in no amount.")


class GroupSerializer(SumSerializer):
    day = serializers.DateField(required=False)
    month = serializers.CharField(required=False)
    key = serializers.CharField(required=False, help_text="The API key's prefix.")
    user_id = serializers.CharField(required=False)
    engine = serializers.CharField(required=False)
    resolution = serializers.CharField(required=False)
    upscale = serializers.CharField(required=False)


class UsageSerializer(serializers.Serializer[Any]):
    start = serializers.DateField()
    end = serializers.DateField()
    data = GroupSerializer(many=True)  # type: ignore[assignment]
    totals = SumSerializer(many=True, help_text="One for each currency.")


# For rows from `reports.with_key_prefix`.
class EntrySerializer(serializers.ModelSerializer[UsageEntry]):
    kind = serializers.ChoiceField(choices=UsageEntry.Kind.values)
    key = serializers.CharField(source="key_prefix")
    user_id = serializers.CharField(source="user_label")

    class Meta:
        model = UsageEntry
        fields = [
            "id",
            "kind",
            "render_id",
            "key",
            "user_id",
            "engine",
            "resolution",
            "upscale",
            "reserved_seconds",
            "billed_seconds",
            "price_micros",
            "amount_micros",
            "currency",
            "reason",
            "created_at",
            "settled_at",
        ]


class LineSerializer(serializers.Serializer[Any]):
    engine = serializers.CharField()
    resolution = serializers.CharField()
    upscale = serializers.CharField()
    currency = serializers.CharField()
    price_micros = serializers.IntegerField(help_text="Price of one second, upscaling included.")
    renders = serializers.IntegerField()
    seconds = serializers.IntegerField()
    amount_micros = serializers.IntegerField(source="total_micros")


class StatementSumSerializer(SumSerializer):
    renders = serializers.IntegerField(help_text="Billed renders: the sum of the lines.")
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
    def get_adjustments(self, statement: Statement) -> list[dict[str, Any]]:
        return [
            {
                "created_at": serializers.DateTimeField().to_representation(row.created_at),
                "reason": row.reason,
                "seconds": row.billed_seconds,
                "amount_micros": row.amount_micros,
                "currency": row.currency,
            }
            for row in statement.adjustments
        ]


# Otherwise drf-spectacular documents the response of `list` as a list of these.
SINGLE_USAGE = forced_singular_serializer(UsageSerializer)  # type: ignore[no-untyped-call]
