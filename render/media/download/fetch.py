"""Download a source file from an address that a customer gave."""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from accounts.errors import ServiceError
from render.media.atomic_file import atomic_file
from render.media.download.addresses import parse_address
from render.media.download.failures import STATUSES_THAT_PASS, Failure, answered, failure_of, retry_after
from render.media.download.retrying import FetchLimits, RetryPolicy, TryFailed
from render.media.download.ssrf_guard import AddressNotAllowed, SsrfGuardTransport

MAX_REDIRECTS = 5
# Refused, and never requested. Unpacking would multiply the bytes: 10 MB of gzip can hold 10 GB of zeros.
COMPRESSIONS = {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}
# Statuses of success without the whole file -> end of the message.
_NO_FILE = dict.fromkeys((201, 202, 203, 204, 205), ", not 200 with the file")
_NO_FILE[206] = " with a part of the file, although the whole file was requested"


@dataclass(frozen=True)
class FetchedFile:
    path: Path
    sha256: str  # hex
    bytes: int
    content_type: str  # by the server's header, lower case and without parameters; empty without the header


def fetch(
    url: str,
    destination: Path,
    *,
    limits: FetchLimits,
    allow_private: bool,
    param: str,
    user_agent: str = "creatorify",
    check: Callable[[], None] = lambda: None,
) -> FetchedFile:
    """Download `url` to `destination`, which appears only when it is complete.

    After a failure that may pass, such as a 503 or a broken connection, it is tried again from the start of the file,
    within the limits. `check` is called all the time; what it raises ends the download.

    Raises ServiceError with `param`: url_not_allowed, redirect_not_allowed, download_failed, download_timeout or
    media_too_large. The details name no more than the host in `url`: a query may hold a signature, and a redirect or a
    look-up may reveal the internal network.
    """
    address = parse_address(url)
    if address is None:
        detail = "The address must be http or https, with a valid host and without a password."
        raise ServiceError("url_not_allowed", detail, param=param)
    download = _Download(address, destination, limits, allow_private, param, user_agent, check)
    deadline = time.monotonic() + limits.total_seconds
    try:
        fetched: FetchedFile = RetryPolicy(limits, check).retrying()(download.try_once, deadline)
    except TryFailed as failed:
        raise failed.error from failed.__cause__
    return fetched


@dataclass(frozen=True)
class _Download:
    address: httpx.URL
    destination: Path
    limits: FetchLimits
    allow_private: bool
    param: str
    user_agent: str
    check: Callable[[], None]

    def try_once(self, deadline: float) -> FetchedFile:
        """Follow the address and its redirects. Raises ServiceError, or TryFailed."""
        self.check()
        total_seconds = deadline - time.monotonic()
        client = httpx.Client(
            transport=SsrfGuardTransport(allow_private=self.allow_private, total_seconds=total_seconds),
            trust_env=False,
            timeout=httpx.Timeout(self.limits.read_seconds, connect=self.limits.connect_seconds),
            headers={"User-Agent": self.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
            event_hooks={"response": [_stop_at_redirect]},
        )
        address = self.address
        with client:
            for redirects in range(MAX_REDIRECTS + 1):
                try:
                    with client.stream("GET", address) as response:
                        return self._save(response)
                except _Redirected as redirect:
                    target = parse_address(redirect.location, base=address)
                except AddressNotAllowed as error:
                    refusal = self._redirect_not_allowed() if redirects else self._address_not_allowed()
                    raise TryFailed(refusal, may_pass=error.may_pass) from error
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._broken(failure_of(error), is_redirected=redirects > 0) from error
                if target is None:
                    raise self._redirect_not_allowed()
                address = target
        raise self._failure(f"{self.address.host} redirected more than {MAX_REDIRECTS} times.", may_pass=False).error

    def _address_not_allowed(self) -> ServiceError:
        detail = f"{self.address.host} is not an address of the public internet. Is the name spelled right?"
        return ServiceError("url_not_allowed", detail, param=self.param)

    def _redirect_not_allowed(self) -> ServiceError:
        detail = f"{self.address.host} redirects to an address that is not allowed."
        return ServiceError("redirect_not_allowed", detail, param=self.param)

    def _broken(self, failure: Failure, *, is_redirected: bool) -> TryFailed:
        host = self.address.host
        server = f"{host} redirects to a server that" if is_redirected else host
        code = "download_timeout" if failure.is_timeout else "download_failed"
        return self._failure(f"{server} {failure.words}.", may_pass=failure.may_pass, code=code)

    def _failure(
        self, detail: str, *, may_pass: bool, code: str = "download_failed", retry_after: float = 0
    ) -> TryFailed:
        error = ServiceError(code, detail, param=self.param, retryable=may_pass)
        return TryFailed(error, may_pass=may_pass, retry_after=retry_after)

    def _save(self, response: httpx.Response) -> FetchedFile:
        self._check_answer(response)
        max_bytes = self.limits.max_bytes
        too_large = ServiceError("media_too_large", f"The file is larger than {max_bytes} bytes.", param=self.param)
        announced = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,18}", announced) and int(announced) > max_bytes:
            raise too_large

        digest, size = hashlib.sha256(), 0
        with atomic_file(self.destination) as partial, partial.open("wb") as file:
            for block in response.iter_raw():
                self.check()
                size += len(block)
                if size > max_bytes:
                    raise too_large
                digest.update(block)
                file.write(block)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return FetchedFile(self.destination, digest.hexdigest(), size, content_type)

    def _check_answer(self, response: httpx.Response) -> None:
        """Raises TryFailed unless the answer holds the whole file, as it is."""
        status = response.status_code
        if status != HTTPStatus.OK and not _is_whole(response):
            may_pass = status in STATUSES_THAT_PASS
            detail = f"The server {answered(status)}{_NO_FILE.get(status, '')}."
            raise self._failure(detail, may_pass=may_pass, retry_after=retry_after(response) or 0)
        encodings = response.headers.get("Content-Encoding", "").lower().replace(" ", "").split(",")
        if COMPRESSIONS.intersection(encodings):
            detail = f"{self.address.host} sent the file compressed, although no compression was requested."
            raise self._failure(detail, may_pass=False)


def _is_whole(response: httpx.Response) -> bool:
    """Whether an answer with a part of a file (206), which was not requested, holds all of it."""
    span = re.fullmatch("bytes 0-([0-9]{1,18})/([0-9]{1,18})", response.headers.get("Content-Range", "").strip())
    return response.status_code == HTTPStatus.PARTIAL_CONTENT and span is not None and int(span[1]) + 1 == int(span[2])


class _Redirected(Exception):
    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


def _stop_at_redirect(response: httpx.Response) -> None:
    """Stop before httpx reads the new address: for many that are not allowed it raises errors of its own."""
    if response.has_redirect_location:
        raise _Redirected(response.headers["Location"])
