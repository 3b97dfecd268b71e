"""Serves media files of a local storage, with byte ranges: without them browsers cannot seek and Safari plays nothing.

A link must be signed and not expired, and its tenant not suspended. With Cloudinary or S3 the storage serves the files.

The view is not beside the storage that signs the links (`render.storage.backends.files`), because it uses
`creatorify.api.errors`, which render may not import.
"""

import logging
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, parse_http_date_safe, quote_etag
from django.views.decorators.http import require_safe

from accounts.database_errors import DATABASE_UNAVAILABLE
from accounts.models import Tenant
from creatorify.api import errors
from render.storage import media as media_storage
from render.storage.backends.files import is_signed, is_signed_for_staff
from render.storage.content_types import content_type_of

logger = logging.getLogger(__name__)

TEXT = "text/plain; charset=utf-8"
NO_LINK = "This link is not valid, or has expired. Read the project or asset from the API again: it has a new link.\n"
NO_FILE = "This file does not exist, or has been deleted.\n"
PIECE_BYTES = 256 * 1024
# RFC 9110, 14.1.2. A request for several ranges gets the whole file.
ONE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@require_safe
def media(request: HttpRequest, path: str) -> HttpResponseBase:
    response: HttpResponseBase
    try:
        response = _file_or_error(request, path)
    except PermissionDenied:
        response = HttpResponse(NO_LINK, status=403, content_type=TEXT)
    except Http404:
        response = HttpResponse(NO_FILE, status=404, content_type=TEXT)
    except (OSError, *DATABASE_UNAVAILABLE) as error:
        logger.error("%s cannot be served now: %s", path, error)
        response = errors.unavailable(request)
    # Pages of any site may play the file and read errors: the link cannot be guessed, and no cookie counts.
    response["Access-Control-Allow-Origin"] = "*"
    return response


def _file_or_error(request: HttpRequest, path: str) -> HttpResponseBase:
    _require_signature(request.GET, path)
    file = _open(path)
    facts = os.fstat(file.fileno())
    modified = int(facts.st_mtime)
    etag = quote_etag(f"{facts.st_mtime_ns:x}-{facts.st_size:x}")
    whole = range(facts.st_size)
    span = _requested_span(request, whole, etag=etag, modified=modified)

    response: HttpResponseBase
    unchanged = get_conditional_response(request, etag, modified)
    if unchanged is not None:
        file.close()
        response = unchanged
    elif span is not None and not span:
        file.close()
        response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{len(whole)}"})
    else:
        response = _file_response(request, file, whole if span is None else span)
        if span is not None:
            response.status_code = 206
            response["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(whole)}"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    response["Last-Modified"] = http_date(modified)
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _require_signature(query: QueryDict, path: str) -> None:
    expires = query.get("expires", "")
    if is_signed_for_staff(path, expires, query.get("staff_signature", "")):
        return
    if not is_signed(path, expires, query.get("signature", "")):
        raise PermissionDenied
    _require_not_suspended(path)


def _require_not_suspended(path: str) -> None:
    """See docs/accounts.md, "Suspended tenants"."""
    tenant_id = media_storage.tenant_id_of(path)
    if tenant_id is None:
        return
    if Tenant.objects.filter(pk=tenant_id, suspended_at__isnull=False).exists():
        raise PermissionDenied


def _open(path: str) -> BinaryIO:
    """Raises Http404 if there is no such file, OSError if this machine or its disk fails."""
    try:
        return media_storage.storage_of(path).open_served(path)
    except FileNotFoundError:
        raise Http404 from None


def _requested_span(request: HttpRequest, whole: range, *, etag: str, modified: int) -> range | None:
    """The requested bytes; None: all of them. An empty span cannot be satisfied (RFC 9110, 15.5.17)."""
    match = ONE_RANGE.fullmatch(request.headers.get("Range", ""))
    condition = request.headers.get("If-Range", etag)
    if request.method != "GET" or match is None or (condition != etag and parse_http_date_safe(condition) != modified):
        return None
    first, last = match.groups()
    if first:
        # "5-2" is not a range.
        return None if last and int(last) < int(first) else whole[int(first) : int(last) + 1 if last else None]
    if last:
        return whole[-int(last) :] if int(last) else range(0)
    return None


def _file_response(request: HttpRequest, file: BinaryIO, span: range) -> FileResponse:
    response = FileResponse(file, content_type=content_type_of(file.name))
    if not re.match(r"(audio|video)/|image/(?!svg)", response["Content-Type"]):
        # An HTML page, or an SVG with a script, would run with this site's cookies.
        response["Content-Disposition"] = "attachment"
    response["Content-Length"] = str(len(span))
    if request.method == "HEAD":
        span = range(0)
    file.seek(span.start)
    response.streaming_content = _pieces(file, len(span))
    return response


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
        length -= len(piece)
        yield piece
