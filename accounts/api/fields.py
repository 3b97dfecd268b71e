"""Serializer fields for requests."""

from typing import Any, NoReturn

from rest_framework import serializers


class ChoiceField(serializers.ChoiceField):
    """DRF's, whose error also names what is allowed."""

    default_error_messages = {"invalid_choice": "Must be one of {choices}; not {input}."}

    def fail(self, key: str, **details: Any) -> NoReturn:
        super().fail(key, choices=", ".join(map(str, self.choices)), **details)


class UniqueListField(serializers.ListField):
    """A list without repeated members: of equal ones the first is kept. Give it a `max_length`."""

    def to_internal_value(self, data: Any) -> list[Any]:
        # DRF checks the length after it has checked each member; a long list would cost too much by then.
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return list(dict.fromkeys(super().to_internal_value(data)))
