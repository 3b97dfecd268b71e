"""Why a request to a customer's server failed, in words for the customer.

The words tell only the kind of the failure: never an address of a network, nor the text of a library.
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

from render.media.download.ssrf_guard import AddressNotAllowed, NameTimeout, NoAddress


@dataclass(frozen=True)
class Failure:
    words: str  # follow the server's name, as in "example.com refuses the connection"
    may_pass: bool  # the same request may succeed later, without a change by the customer
    is_timeout: bool = False


# Statuses that may soon be another: overload, restarts, gateways. Cloudflare sends 520 to 527 for the server behind it.
STATUSES_THAT_PASS = frozenset({408, 425, 429, 500, 502, 503, 504, 529, *range(520, 528)})
_UNKNOWN_ISSUER = "uses a certificate whose issuer is not known, or without its intermediate certificates"
_OTHER_NAME = "uses a certificate that is for another name"
_CERTIFICATE_ERRORS = {  # by OpenSSL's number of the error
    2: _UNKNOWN_ISSUER,
    9: "uses a certificate that is not valid yet",
    10: "uses a certificate that has expired",
    18: "uses a self-signed certificate",
    19: _UNKNOWN_ISSUER,
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    23: "uses a certificate that was revoked",
    27: _UNKNOWN_ISSUER,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
_TLS_ERRORS = {  # by OpenSSL's name of the error
    "WRONG_VERSION_NUMBER": "does not speak TLS at this port",
    "HTTP_REQUEST": "does not speak TLS at this port",
    "UNKNOWN_PROTOCOL": "does not speak TLS at this port",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "asks for a client certificate",
}
_BROKEN_OFF = Failure("broke the connection off", may_pass=True)
_UNREACHABLE = Failure("cannot be reached over the network", may_pass=True)
_NETWORK_ERRORS = {
    errno.ECONNREFUSED: Failure("refuses the connection: nothing listens at this port", may_pass=True),
    errno.ECONNRESET: _BROKEN_OFF,
    errno.ECONNABORTED: _BROKEN_OFF,
    errno.EPIPE: _BROKEN_OFF,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.EHOSTUNREACH: _UNREACHABLE,
}


def failure_of(error: BaseException) -> Failure:
    """error: AddressNotAllowed, or an exception that httpx raised for a request."""
    for cause in _causes(error):
        if failure := _failure_of_cause(cause):
            return failure
    if isinstance(error, httpx.ConnectTimeout):
        return Failure("did not take the connection in time", may_pass=True, is_timeout=True)
    if isinstance(error, httpx.TimeoutException):
        return Failure("took too long to answer", may_pass=True, is_timeout=True)
    if isinstance(error, httpx.RemoteProtocolError):
        return _failure_of_protocol(str(error))
    return Failure("could not be reached, or broke the connection off", may_pass=True)


def failure_of_status(status: int) -> Failure:
    """status: of an answer that is not 2xx."""
    redirect = ", which is a redirect, and redirects are not followed" if 300 <= status < 400 else ""
    return Failure(f"{answered(status)}{redirect}", may_pass=status in STATUSES_THAT_PASS)


def answered(status: int) -> str:
    """Such as "answered 404 (Not Found)"; without a name for a status that is not registered."""
    try:
        return f"answered {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"answered {status}"


def retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait by the header Retry-After, which holds a number or a date (RFC 9110, 10.2.3).

    None without the header, or for a date that has passed.
    """
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    date = date.replace(tzinfo=date.tzinfo or UTC)
    seconds = (date - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(20):  # the chain may have a loop
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__  # httpcore raises with `from None`


def _failure_of_cause(cause: BaseException) -> Failure | None:
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
        words = _CERTIFICATE_ERRORS.get(cause.verify_code, "uses a certificate that is not accepted")
        return Failure(words, may_pass=False)
    if isinstance(cause, ssl.SSLEOFError):
        return _BROKEN_OFF
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLWantReadError):
        words = _TLS_ERRORS.get(cause.reason or "", "offers no TLS version or cipher that is secure enough")
        return Failure(words, may_pass=False)
    return _NETWORK_ERRORS.get(cause.errno or 0) if isinstance(cause, OSError) else None


def _failure_of_protocol(text: str) -> Failure:
    """text: of an error of httpcore or h11, which have one class for all of these."""
    if "without sending a response" in text:
        return _BROKEN_OFF
    if "without sending complete message body" in text or "incomplete chunked read" in text:
        return Failure("broke off before the end of its answer", may_pass=True)
    if "buffer too long" in text:
        return Failure("sent response headers that are too large", may_pass=False)
    return Failure("sent an answer that is not valid HTTP", may_pass=False)
