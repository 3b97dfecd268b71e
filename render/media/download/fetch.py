"""Download a source file from an address that a caller gave."""

import hashlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx
import tenacity

from accounts.errors import ServiceError
from render.media.download.failures import STATUSES_THAT_PASS, Failure, answered, failure_of, retry_after
from render.media.download.safe_client import AddressNotAllowed, OutboundTransport
from render.media.whole_file import whole_file

MAX_HOST = 253  # characters, RFC 1035
MAX_REDIRECTS = 5
CHECK_SECONDS = 0.2
MOST_TIMEOUTS = 2  # tries, because each took `read_seconds` or more
# Never asked for. Unpacking would multiply the bytes: 10 MB of gzip can hold 10 GB of zeros.
COMPRESSIONS = {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}

_NO_FILE = {  # Answers of success without the whole file.
    **dict.fromkeys((201, 202, 203, 204, 205), ", not 200 with the file"),
    206: " with a part of the file, although the whole file was asked for",
}


@dataclass(frozen=True)
class FetchLimits:
    max_bytes: int
    total_seconds: float  # from the first look-up of the name to the last byte, all redirects included
    connect_seconds: float = 10
    read_seconds: float = 20  # the longest silence
    tries: int = 4
    backoff_seconds: float = 0.5  # before the second try; then twice as long each time
    longest_wait_seconds: float = 10  # before a try, whatever the server asks for
    most_waited_seconds: float = 20  # between all tries together


@dataclass(frozen=True)
class FetchedFile:
    path: Path
    sha256: str  # hex
    bytes: int
    content_type: str  # what the server claims, lower case and without parameters; empty when it claims nothing


class _Failed(Exception):
    """This try has failed. `retry_after`: seconds that the server asks to wait."""

    def __init__(self, error: ServiceError, *, may_pass: bool, retry_after: float = 0) -> None:
        super().__init__()
        self.error = error
        self.may_pass = may_pass
        self.retry_after = retry_after


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

    What may pass, such as a 503 or a connection that breaks off, is tried again, from the start of the file, within
    the limits. `check` is called all the time meanwhile; what it raises ends that, and is raised here.

    Raises ServiceError with `param`: url_not_allowed, redirect_not_allowed, download_failed, download_timeout or
    media_too_large. The details name no more than the host in `url`: a query may hold a signature, and a redirect or a
    look-up may tell of the network inside.
    """
    address = parse_address(url)
    if address is None:
        raise ServiceError(
            "url_not_allowed", "Only http and https addresses with a valid host and without a password.", param=param
        )
    one_try = _Try(address, destination, limits, allow_private, param, user_agent, check)
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, _Failed) and error.may_pass),
        wait=partial(_seconds_to_wait, limits),
        stop=partial(_is_enough, limits),
        sleep=partial(_sleep, check),
        reraise=True,
    )
    deadline = time.monotonic() + limits.total_seconds
    try:
        fetched: FetchedFile = attempts(one_try.follow, deadline)
    except _Failed as failed:
        raise failed.error from failed.__cause__
    return fetched


def _seconds_to_wait(limits: FetchLimits, state: tenacity.RetryCallState) -> float:
    backoff = limits.backoff_seconds * random.uniform(0.5, 1) * 2.0 ** (state.attempt_number - 1)
    return min(max(backoff, _failure_of_try(state).retry_after), limits.longest_wait_seconds)


def _is_enough(limits: FetchLimits, state: tenacity.RetryCallState) -> bool:
    """A worker is not held for long by a server that is away for long, or always asks to wait."""
    is_timeout = _failure_of_try(state).error.code == "download_timeout"
    tries = min(limits.tries, MOST_TIMEOUTS) if is_timeout else limits.tries
    waited = state.idle_for + state.upcoming_sleep
    return (
        state.attempt_number >= tries
        or waited > limits.most_waited_seconds
        or (state.seconds_since_start or 0) + state.upcoming_sleep >= limits.total_seconds
    )


def _failure_of_try(state: tenacity.RetryCallState) -> _Failed:
    failed = state.outcome.exception() if state.outcome else None
    assert isinstance(failed, _Failed)  # Nothing else is tried again.
    return failed


def _sleep(check: Callable[[], None], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left, CHECK_SECONDS))


@dataclass(frozen=True)
class _Try:
    address: httpx.URL
    destination: Path
    limits: FetchLimits
    allow_private: bool
    param: str
    user_agent: str
    check: Callable[[], None]

    def follow(self, deadline: float) -> FetchedFile:
        """The address and its redirects. Raises ServiceError, or _Failed."""
        self.check()
        total_seconds = deadline - time.monotonic()
        client = httpx.Client(
            transport=OutboundTransport(allow_private=self.allow_private, total_seconds=total_seconds),
            trust_env=False,
            timeout=httpx.Timeout(self.limits.read_seconds, connect=self.limits.connect_seconds),
            headers={"User-Agent": self.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
            event_hooks={"response": [_stop_at_redirect]},
        )
        host, param, address = self.address.host, self.param, self.address
        with client:
            for redirects in range(MAX_REDIRECTS + 1):
                try:
                    with client.stream("GET", address) as response:
                        return self._save(response)
                except _Redirected as redirect:
                    target = parse_address(redirect.location, base=address)
                except AddressNotAllowed as error:
                    detail = f"{host} does not lead to an address of the public internet. Is the name spelled right?"
                    not_allowed = ServiceError("url_not_allowed", detail, param=param)
                    told = _bad_redirect(host, param) if redirects else not_allowed
                    raise _Failed(told, may_pass=error.may_pass) from error
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._broken(failure_of(error), is_redirected=redirects > 0) from error
                if target is None:
                    raise _bad_redirect(host, param)
                address = target
        raise self._failure(f"{host} redirected more than {MAX_REDIRECTS} times.", may_pass=False).error

    def _broken(self, failure: Failure, *, is_redirected: bool) -> _Failed:
        host = self.address.host
        who = f"{host} redirects to a server that" if is_redirected else host
        code = "download_timeout" if failure.is_timeout else "download_failed"
        return self._failure(f"{who} {failure.words}.", may_pass=failure.may_pass, code=code)

    def _failure(
        self, detail: str, *, may_pass: bool, code: str = "download_failed", retry_after: float = 0
    ) -> _Failed:
        error = ServiceError(code, detail, param=self.param, retryable=may_pass)
        return _Failed(error, may_pass=may_pass, retry_after=retry_after)

    def _save(self, response: httpx.Response) -> FetchedFile:
        status = response.status_code
        if status != HTTPStatus.OK and not _is_whole(response):
            may_pass = status in STATUSES_THAT_PASS
            detail = f"The server {answered(status)}{_NO_FILE.get(status, '')}."
            raise self._failure(detail, may_pass=may_pass, retry_after=retry_after(response) or 0)
        encodings = response.headers.get("Content-Encoding", "").lower().replace(" ", "").split(",")
        if COMPRESSIONS.intersection(encodings):
            detail = f"{self.address.host} sent the file compressed, which was not asked for."
            raise self._failure(detail, may_pass=False)
        max_bytes = self.limits.max_bytes
        too_large = ServiceError("media_too_large", f"The file is larger than {max_bytes} bytes.", param=self.param)
        announced = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,18}", announced) and int(announced) > max_bytes:
            raise too_large

        digest, size = hashlib.sha256(), 0
        with whole_file(self.destination) as partial_file, partial_file.open("wb") as file:
            for block in response.iter_raw():
                self.check()
                size += len(block)
                if size > max_bytes:
                    raise too_large
                digest.update(block)
                file.write(block)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return FetchedFile(self.destination, digest.hexdigest(), size, content_type)


def _is_whole(response: httpx.Response) -> bool:
    """Of an answer with parts of a file: whether it holds all of it. None was asked for."""
    span = re.fullmatch("bytes 0-([0-9]{1,18})/([0-9]{1,18})", response.headers.get("Content-Range", "").strip())
    return response.status_code == HTTPStatus.PARTIAL_CONTENT and span is not None and int(span[1]) + 1 == int(span[2])


class _Redirected(Exception):
    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


def _stop_at_redirect(response: httpx.Response) -> None:
    """Before httpx itself reads the new address, and fails in its own way for many that are not allowed."""
    if response.has_redirect_location:
        raise _Redirected(response.headers["Location"])


def _bad_redirect(host: str, param: str) -> ServiceError:
    return ServiceError("redirect_not_allowed", f"{host} redirects to an address that is not allowed.", param=param)


def parse_address(url: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """The address, or None for one that is never fetched: another scheme, a password, no host or an impossible one."""
    try:
        address = base.join(url) if base else httpx.URL(url)
        host = address.host  # Decodes an international name.
    except (httpx.InvalidURL, UnicodeError):
        return None
    if address.scheme not in ("http", "https") or address.userinfo:
        return None
    if not host or len(host) > MAX_HOST or ".." in host:
        return None
    if address.port is not None and not 0 < address.port < 65_536:
        return None
    return address
