"""The type of an announced file. It is only said: what the file is, its check finds out, and names the type anew."""

import re

from render.media_types import UNKNOWN, content_type_of

_MEDIA = re.compile(r"(image|video|audio)/[a-z0-9][a-z0-9.+-]{0,60}")
# A drawing may hold scripts. No storage is told to serve it.
_ACTIVE = {"image/svg+xml"}
# Whoever says so is about to send another file than he thinks.
_DOCUMENTS = re.compile(r"(text/(html|css|csv|javascript|xml)|application/(xhtml\+xml|xml|json|pdf|zip|javascript))")


def announced_type(said: str, filename: str) -> str | None:
    """The type under which the file is sent; None when it is said to be a document.

    said: by a browser, so maybe with parameters, in capitals, empty, or `application/octet-stream`. What says nothing
    of a picture, film or sound is taken from the file's name, and is `application/octet-stream` if that says nothing.
    """
    essence = said.partition(";")[0].strip().lower()
    if _DOCUMENTS.fullmatch(essence):
        return None
    return _media(essence) or _media(content_type_of(filename)) or UNKNOWN


def _media(essence: str) -> str | None:
    return essence if _MEDIA.fullmatch(essence) and essence not in _ACTIVE else None
