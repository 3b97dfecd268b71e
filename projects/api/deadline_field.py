"""The fields of a request for the deadlines of a project."""

from typing import Any

from rest_framework import serializers

MAX_DEADLINE_SECONDS = 30 * 24 * 3600


class DeadlineField(serializers.IntegerField):
    """Seconds from the creation of a take. What becomes of them: `render.deadlines`."""

    def __init__(self, condition: str, **kwargs: Any) -> None:
        """condition: of a render that has missed the deadline, for the documentation."""
        self.condition = condition
        super().__init__(
            min_value=1,
            max_value=MAX_DEADLINE_SECONDS,
            required=False,
            allow_null=True,
            help_text=f"If it {condition} so many seconds after its creation, it fails with `deadline_exceeded`, and "
            "nothing is charged. Counted anew by `retry` and `finalize`.",
            **kwargs,
        )
