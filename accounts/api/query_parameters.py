"""Read and check the query string of a request by a serializer."""

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request


def read(
    serializer: type[serializers.Serializer[Any]], request: Request, *, refuse_unknown: bool = False
) -> dict[str, Any]:
    """Return the validated values. An empty value counts as absent, because forms send untouched fields that way.

    refuse_unknown: for requests that cost something, so that a misspelled `dry_run` does not start a render. Raises
    ValidationError that names the parameter.
    """
    known = serializer().fields
    unknown = [name for name in request.query_params if name not in known] if refuse_unknown else []
    if unknown:
        detail = f"There is no such query parameter. Known ones: {', '.join(known)}."
        raise ValidationError({unknown[0]: [detail]}, code="invalid")
    query = serializer(data={name: value for name, value in request.query_params.items() if value})
    query.is_valid(raise_exception=True)
    values: dict[str, Any] = query.validated_data
    return values
