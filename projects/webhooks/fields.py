"""The field of a request that names where webhooks are sent to."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from projects.assets.source_urls import MAX_LENGTH, validate_address


def webhook_url_field(**options: Any) -> serializers.CharField:
    """A field for an https URL that the service may call. options: of `CharField`."""
    return serializers.CharField(max_length=MAX_LENGTH, validators=[validate_address, _validate_https], **options)


def _validate_https(url: str) -> None:
    # What is neither http nor https is refused by `validate_address` already.
    if url.lower().startswith("http://") and not settings.ALLOW_PRIVATE_MEDIA_URLS:
        raise serializers.ValidationError("Only https URLs are called.", code="url_not_allowed")
