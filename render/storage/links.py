"""When links to media expire, and the request with which a customer uploads a file."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.core.cache import cache


@dataclass(frozen=True)
class DirectUpload:
    """An HTTP request that uploads a file: the file is the body, or the last field of a multipart form."""

    method: str  # PUT or POST
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)  # of the form, before the field `file`; empty: no form


def link_expiry() -> int:
    """When a link that is made now expires, in Unix seconds: between half of MEDIA_LINK_SECONDS and all of it ahead.

    The time moves in steps, so that a file's link, and the ETag of a response that contains it, stay the same for a
    while.
    """
    step = max(settings.MEDIA_LINK_SECONDS // 2, 1)
    steps = int(time.time()) // step
    expiry: int = (steps + 2) * step
    return expiry


def cached_link(name: str, make: Callable[[int], str]) -> str:
    """Return `make(expiry)`, called once for each expiry: some storages also sign the time of the call, so each call
    would give another link.
    """
    expiry = link_expiry()
    key = f"link:{expiry}:{name}"
    link: str | None = cache.get(key)
    if link is None:
        link = make(expiry)
        cache.set(key, link, settings.MEDIA_LINK_SECONDS // 2)
    return link
