"""The content type of an announced file, as the client states it. The later check of the file finds the true one."""

import re

from render.storage.content_types import UNKNOWN, content_type_of

_MEDIA = re.compile(r"(image|video|audio)/[a-z0-9][a-z0-9.+-]{0,60}")
# A drawing may hold scripts, so no storage is told to serve it.
_ACTIVE = {"image/svg+xml"}
# Refused at once: a failed download leaves a web page, and no browser gives a video or an image this type.
_PAGES = {"text/html", "application/xhtml+xml"}


def announced_type(stated: str, filename: str) -> str | None:
    """The type under which the file is sent; None for a web page.

    stated: by a browser, so maybe with parameters, in capitals, empty, or `application/octet-stream`. If it is not that
    of an image, a video or audio, the file's name decides, and else it is `application/octet-stream`.
    """
    essence = stated.partition(";")[0].strip().lower()
    if essence in _PAGES:
        return None
    return _media(essence) or _media(content_type_of(filename)) or UNKNOWN


def _media(essence: str) -> str | None:
    return essence if _MEDIA.fullmatch(essence) and essence not in _ACTIVE else None
