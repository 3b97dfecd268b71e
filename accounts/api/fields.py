"""Fields of requests that the framework's own ones leave open: numbers that are none, and lists without a bound."""

import math
from typing import Any

from rest_framework import serializers


class FiniteFloatField(serializers.FloatField):
    """JSON has no way to write infinity or NaN, the database neither; but "nan" and 1e999 would get here."""

    def to_internal_value(self, data: Any) -> float:
        try:
            value = super().to_internal_value(data)
        except OverflowError:
            self.fail("invalid")
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class UniqueListField(serializers.ListField):
    """A bounded list in which a member counts once, however often it is given. It needs a `max_length`."""

    def to_internal_value(self, data: Any) -> list[Any]:
        # Before its members are looked at.
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return list(dict.fromkeys(super().to_internal_value(data)))
