"""Headers that Python's and Django's own parsers do not survive, or read in a time that grows with their square.

Everybody can send them, without a key, to every address.
"""

import re

from creatorify.asgi_middleware.asgi import Headers

MAX_MEDIA_TYPE_BYTES = 1000  # Browsers send some 150.
MEDIA_TYPES = {b"accept": "Accept", b"content-type": "Content-Type"}
# `name*=charset'language'value`: Python decodes it with whatever codec is named, also such as make no text.
EXTENDED_PARAMETER = re.compile(rb"\*\s*=")


class BadHeader(Exception):
    """The message is for whoever has sent it."""


def readable(headers: Headers) -> Headers:
    """What Django may be given of a request's headers. Raises BadHeader."""
    kept: Headers = []
    for name, value in headers:
        if name in MEDIA_TYPES:
            _check_media_type(MEDIA_TYPES[name], value)
        if name == b"cookie":
            # Python unquotes in a time that grows with the square of the length; no cookie of ours has a quote.
            value = b";".join(cookie for cookie in value.split(b";") if b'"' not in cookie)
        # Django reads `X_Api_Key` and `X-Api-Key` as the same header. Proxies set and remove the second form only.
        if b"_" not in name:
            kept.append((name, value))
    return kept


def _check_media_type(name: str, value: bytes) -> None:
    if len(value) > MAX_MEDIA_TYPE_BYTES:
        raise BadHeader(f"The header {name} has {len(value)} bytes; at most {MAX_MEDIA_TYPE_BYTES} are read.")
    if EXTENDED_PARAMETER.search(value):
        raise BadHeader(f"The header {name} has a parameter in the form `name*=`, which is not read.")
