"""What stands behind the `?` of an address, checked as a body is: what is wrong is refused, with its name."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request


def read(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """An empty value counts as none: that is how forms send a field that was left alone."""
    query = serializer(data={name: value for name, value in request.query_params.items() if value})
    query.is_valid(raise_exception=True)
    values: dict[str, Any] = query.validated_data
    return values
