"""Where source files are, as far as that can be judged from its text: at an address, or among the tenant's own."""

import unicodedata
from urllib.parse import urlsplit

from rest_framework import serializers

from projects.assets.references import is_reference
from render.media.download.addresses import parse_address

MAX_LENGTH = 4096


def validate_source_url(url: str) -> None:
    """Where a name leads to is checked at the download, when it is resolved; whether an asset exists, by its use."""
    if is_reference(url):
        return
    if not url.lower().startswith(("http:", "https:")):
        raise serializers.ValidationError(
            "Give an address that begins with https:// or http://, or a file of yours: asset:ID of an upload, or "
            "avatar:ID of a portrait.",
            code="url_not_allowed",
        )
    validate_address(url)


def validate_address(url: str) -> None:
    """An http or https URL that the service's client would open."""
    if any(character.isspace() or unicodedata.category(character) == "Cc" for character in url):
        raise serializers.ValidationError("A URL has no spaces or control characters.", code="invalid")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # Reading the port checks it.
    except ValueError:
        raise serializers.ValidationError("Not a valid URL.", code="invalid") from None
    if parts.scheme not in ("http", "https"):
        raise serializers.ValidationError("A URL must begin with https:// or http://.", code="url_not_allowed")
    if not host:
        raise serializers.ValidationError("The URL has no host.", code="invalid")
    if parts.username is not None or parts.password is not None:
        raise serializers.ValidationError("A URL must not carry a user name.", code="url_not_allowed")
    if parse_address(url) is None:
        raise serializers.ValidationError("The URL's host or port is not valid.", code="url_not_allowed")
