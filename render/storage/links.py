"""Links to media that work for a while, and places to which a customer may send a file."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.core.cache import cache


@dataclass(frozen=True)
class DirectUpload:
    """One HTTP request by which a file reaches the storage: the file is its body, or the last field of a form."""

    method: str  # PUT or POST
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)  # of a multipart form, before its `file`


def link_expiry() -> int:
    """When a link made now ends, in Unix seconds: after MEDIA_LINK_SECONDS, or up to half as much earlier.

    It moves in steps, so that a file's link, and the ETag of an answer that holds it, stay the same for a while.
    """
    step = max(settings.MEDIA_LINK_SECONDS // 2, 1)
    steps = int(time.time()) // step
    expiry: int = (steps + 2) * step
    return expiry


def kept_link(name: str, make: Callable[[int], str]) -> str:
    """`make(expiry)`, once for each expiry: what signs the time of day, too, would give another link each time."""
    expiry = link_expiry()
    key = f"link:{expiry}:{name}"
    link: str | None = cache.get(key)
    if link is None:
        link = make(expiry)
        cache.set(key, link, settings.MEDIA_LINK_SECONDS // 2)
    return link
