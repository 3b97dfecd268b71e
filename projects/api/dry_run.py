"""What `POST /projects?dry_run=true` answers: whether it would be accepted, at what price and how soon."""

from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from accounts.models import UsageEntry
from projects.presentation.projects import TYPES, Representation
from projects.presentation.serializers import WarningSerializer
from render.estimates.completion import WaitingReason


class CreateQuery(serializers.Serializer[Any]):
    dry_run = serializers.BooleanField(default=False, help_text="Only check, and tell the price: nothing is written.")


@dataclass(frozen=True)
class DryRun:
    created: Representation
    entry: UsageEntry
    seconds_available: int  # this month, beside what it needs itself
    is_measured: bool  # whether the hold is as long as the film

    @property
    def seconds(self) -> int | None:
        """Known if the number of frames is, or the voice is an asset; else once the render is prepared."""
        return self.entry.reserved_seconds if self.is_measured else None

    @property
    def amount_micros(self) -> int | None:
        return None if self.seconds is None else self.seconds * self.entry.price_micros


class PriceSerializer(serializers.Serializer[DryRun]):
    currency = serializers.CharField(source="entry.currency")
    micros_per_second = serializers.IntegerField(
        source="entry.price_micros", help_text="Price of a second of film, in millionths of the currency."
    )
    seconds = serializers.IntegerField(allow_null=True, help_text="Of output; null until the voice is measured.")
    amount_micros = serializers.IntegerField(allow_null=True)


class DryRunSerializer(serializers.Serializer[DryRun]):
    dry_run = serializers.SerializerMethodField()
    type = serializers.ChoiceField(source="created.type", choices=TYPES)
    engine = serializers.CharField(source="created.render.engine")
    parameters = serializers.DictField(source="created.project.parameters")
    warnings = WarningSerializer(source="created.warnings", many=True)
    price = PriceSerializer(source="*")
    seconds_available = serializers.IntegerField(
        help_text="Seconds of film that would be left of this month's quota after this render."
    )
    queue_position = serializers.IntegerField(source="created.estimate.queue_position", allow_null=True)
    waiting_reason = serializers.ChoiceField(
        source="created.estimate.waiting_reason", choices=[reason.value for reason in WaitingReason], allow_null=True
    )
    eta_seconds = serializers.IntegerField(source="created.estimate.eta_seconds", allow_null=True)

    def get_dry_run(self, _: DryRun) -> bool:
        return True
