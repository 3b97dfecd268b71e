"""What has gone wrong with a request to a server that a customer has named, in words for the customer.

Only the kind of the failure is told: never an address of a network, nor a library's own text.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from render.media.download.safe_client import AddressNotAllowed, NameTimeout, NoAddress


@dataclass(frozen=True)
class Failure:
    words: str  # behind the server's name, as in "example.com refuses the connection"
    may_pass: bool  # Whether the same request may succeed later, with nothing changed by the customer.
    is_timeout: bool = False


# Answers that may be another one soon: overload, restarts, gateways; 520 to 527 are Cloudflare's for its origin.
STATUSES_THAT_PASS = frozenset({408, 425, 429, 500, 502, 503, 504, 529, *range(520, 528)})
_UNKNOWN_ISSUER = "uses a certificate whose issuer is not known, or without its intermediate certificates"
_CERTIFICATES = {  # by OpenSSL's number of the fault
    9: "uses a certificate that is not valid yet",
    10: "uses a certificate that has expired",
    18: "uses a self-signed certificate",
    **dict.fromkeys((2, 19, 20, 21, 27), _UNKNOWN_ISSUER),
    23: "uses a certificate that was revoked",
    **dict.fromkeys((62, 64), "uses a certificate that is for another name"),
}
_ENCRYPTIONS = {  # by OpenSSL's name of the fault
    **dict.fromkeys(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"), "does not speak TLS at this port"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "asks for a client's certificate",
}
_BROKEN_OFF = Failure("broke the connection off", may_pass=True)
_NETWORK = {
    errno.ECONNREFUSED: Failure("refuses the connection: nothing listens at this port", may_pass=True),
    **dict.fromkeys((errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE), _BROKEN_OFF),
    **dict.fromkeys(
        (errno.ENETUNREACH, errno.EHOSTUNREACH), Failure("cannot be reached over the network", may_pass=True)
    ),
}


def failure_of(error: BaseException) -> Failure:
    """error: AddressNotAllowed, or what httpx raises for a request."""
    for cause in _causes(error):
        if failure := _known(cause):
            return failure
    if isinstance(error, httpx.ConnectTimeout):
        return Failure("did not take the connection in time", may_pass=True, is_timeout=True)
    if isinstance(error, httpx.TimeoutException):
        return Failure("took too long to answer", may_pass=True, is_timeout=True)
    if isinstance(error, httpx.RemoteProtocolError):
        return _of_protocol(str(error))
    return Failure("could not be reached, or broke the connection off", may_pass=True)


def failure_of_status(status: int) -> Failure:
    """Of an answer whose status is not 2xx."""
    redirect = ", which is a redirect, and redirects are not followed" if 300 <= status < 400 else ""
    return Failure(f"{answered(status)}{redirect}", may_pass=status in STATUSES_THAT_PASS)


def answered(status: int) -> str:
    """As "answered 404 (Not Found)"; without words for a status that is not registered."""
    try:
        return f"answered {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"answered {status}"


def retry_after(response: httpx.Response) -> float | None:
    """Seconds until the server wants to be asked again, which it tells as a number or as a date (RFC 9110, 10.2.3).

    None if it does not say, or names a date that is over.
    """
    given = response.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", given):
        return float(given)
    try:
        moment = parsedate_to_datetime(given)
    except (ValueError, OverflowError):
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(20):  # A chain may have a loop.
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__  # httpcore raises its own again `from None`.


def _known(cause: BaseException) -> Failure | None:
    if isinstance(cause, AddressNotAllowed):
        words = "has no public address, or its name does not exist"
        return Failure(words, may_pass=cause.may_pass)
    if isinstance(cause, NameTimeout):
        return Failure("has a name that could not be looked up in time", may_pass=True, is_timeout=True)
    if isinstance(cause, NoAddress):
        return Failure("was not found: its name does not exist (DNS)", may_pass=False)
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return Failure("has a name that could not be looked up now", may_pass=True)
        return Failure("was not found: its name does not exist (DNS)", may_pass=False)
    if isinstance(cause, (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)):
        return Failure("has an address that cannot be used", may_pass=False)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Failure(_CERTIFICATES.get(cause.verify_code, "uses a certificate that is not accepted"), may_pass=False)
    if isinstance(cause, ssl.SSLEOFError):
        return _BROKEN_OFF
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLWantReadError):
        words = _ENCRYPTIONS.get(cause.reason or "", "offers no TLS version or cipher that is secure enough")
        return Failure(words, may_pass=False)
    return _NETWORK.get(cause.errno or 0) if isinstance(cause, OSError) else None


def _of_protocol(text: str) -> Failure:
    """text: of httpcore or h11, which have no classes for these."""
    if "without sending a response" in text:
        return _BROKEN_OFF
    if "without sending complete message body" in text or "incomplete chunked read" in text:
        return Failure("broke off before the end of its answer", may_pass=True)
    if "buffer too long" in text:
        return Failure("sent response headers that are too large", may_pass=False)
    return Failure("sent an answer that is not valid HTTP", may_pass=False)
