"""What is accepted as a place to send webhooks to."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from projects.assets.source_urls import MAX_LENGTH, validate_address


class WebhookUrlField(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, validators=[validate_address, _validate_https], **kwargs)


def _validate_https(url: str) -> None:
    if not url.lower().startswith("https://") and not settings.ALLOW_PRIVATE_MEDIA_URLS:
        raise serializers.ValidationError("Only https URLs are called.", code="url_not_allowed")
