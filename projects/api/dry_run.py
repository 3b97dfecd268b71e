"""The answer of `POST /projects?dry_run=true`: the price of the video, and how soon it would be made."""

from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from accounts.models import UsageEntry
from projects.presentation.projects import TYPES, ProjectPresentation
from projects.presentation.serializers import FrameFields, WarningSerializer
from render.estimates.completion import WaitingReason


class CreateQuery(serializers.Serializer[Any]):
    dry_run = serializers.BooleanField(
        default=False, help_text="Only check the request and return the price; nothing is made."
    )


@dataclass(frozen=True)
class DryRun:
    """A project that was made and is undone, with what it would cost."""

    created: ProjectPresentation
    hold: UsageEntry
    seconds_available: int  # That the hold leaves of this month's quota.
    has_true_length: bool  # Whether the hold is as long as the video.

    @property
    def frame(self) -> dict[str, Any] | None:
        return self.created.frame

    @property
    def seconds(self) -> int | None:
        """Of output. None while the voice is not measured: no number of frames is given, and it is not an asset."""
        return self.hold.reserved_seconds if self.has_true_length else None

    @property
    def amount_micros(self) -> int | None:
        return None if self.seconds is None else self.seconds * self.hold.price_micros


class PriceSerializer(serializers.Serializer[DryRun]):
    currency = serializers.CharField(source="hold.currency")
    micros_per_second = serializers.IntegerField(
        source="hold.price_micros", help_text="Price of a second of video, in millionths of the currency."
    )
    seconds = serializers.IntegerField(
        allow_null=True, help_text="Length of the video; null until the voice is measured."
    )
    amount_micros = serializers.IntegerField(allow_null=True)


class DryRunSerializer(FrameFields):
    """What the video would cost and show, and how soon it would be made."""

    dry_run = serializers.SerializerMethodField()
    type = serializers.ChoiceField(source="created.type", choices=TYPES)
    engine = serializers.CharField(source="created.render.engine")
    parameters = serializers.DictField(source="created.project.parameters")
    warnings = WarningSerializer(source="created.warnings", many=True)
    price = PriceSerializer(source="*")
    seconds_available = serializers.IntegerField(
        help_text="Seconds of video that would be left of this month's quota after this render."
    )
    queue_position = serializers.IntegerField(source="created.estimate.queue_position", allow_null=True)
    waiting_reason = serializers.ChoiceField(
        source="created.estimate.waiting_reason", choices=[reason.value for reason in WaitingReason], allow_null=True
    )
    eta_seconds = serializers.IntegerField(source="created.estimate.eta_seconds", allow_null=True)

    def get_dry_run(self, _: DryRun) -> bool:
        return True
