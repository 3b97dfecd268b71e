"""The form of a source: an address, or a reference to a file of the tenant's own. Only the text is looked at."""

import re
import unicodedata
from urllib.parse import urlsplit

from rest_framework import serializers

from render.media.download.addresses import parse_address

MAX_LENGTH = 4096
ASSET = "asset:"  # What a reference to an asset begins with.
AVATAR = "avatar:"
REFERENCE = re.compile(r"(?:asset|avatar):[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


def validate_source_url(url: str) -> None:
    """Raises ValidationError. What an address resolves to is checked at the download, and an asset when it is used."""
    if REFERENCE.fullmatch(url):
        return
    if not url.lower().startswith(("http:", "https:")):
        raise serializers.ValidationError(
            "Give an address that begins with https:// or http://, or a file of yours: asset:ID of an upload, or "
            "avatar:ID of a portrait.",
            code="url_not_allowed",
        )
    validate_address(url)


def validate_address(url: str) -> None:
    """Require an http or https URL that the service's client would open. Raises ValidationError."""
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
