"""The content type of an announced file, as the client says it. The check of the file later finds the true one."""

import re

from render.storage.content_types import UNKNOWN, content_type_of

_MEDIA = re.compile(r"(image|video|audio)/[a-z0-9][a-z0-9.+-]{0,60}")
# A drawing may hold scripts. No storage is told to serve it.
_ACTIVE = {"image/svg+xml"}
# Refused at once: a failed download leaves a web page, and no browser calls a film or a picture so.
_PAGES = {"text/html", "application/xhtml+xml"}


def announced_type(said: str, filename: str) -> str | None:
    """The type under which the file is sent; None when it is said to be a web page.

    said: by a browser, so maybe with parameters, in capitals, empty, or `application/octet-stream`. What says nothing
    of a picture, film or sound is taken from the file's name, and is `application/octet-stream` if that says nothing.
    """
    essence = said.partition(";")[0].strip().lower()
    if essence in _PAGES:
        return None
    return _media(essence) or _media(content_type_of(filename)) or UNKNOWN


def _media(essence: str) -> str | None:
    return essence if _MEDIA.fullmatch(essence) and essence not in _ACTIVE else None
