"""Download a source file from an address that a caller gave."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from accounts.errors import ServiceError
from render.media.outbound import AddressNotAllowed, OutboundTransport
from render.media.whole_file import whole_file

MAX_HOST = 253  # characters, RFC 1035
MAX_REDIRECTS = 5
# Never asked for. Unpacking would multiply the bytes: 10 MB of gzip can hold 10 GB of zeros.
COMPRESSIONS = {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}


@dataclass(frozen=True)
class FetchLimits:
    max_bytes: int
    total_seconds: float  # from the first look-up of the name to the last byte, all redirects included
    connect_seconds: float = 10
    read_seconds: float = 20  # the longest silence


@dataclass(frozen=True)
class FetchedFile:
    path: Path
    sha256: str  # hex
    bytes: int
    content_type: str  # what the server claims, lower case and without parameters; empty when it claims nothing


def fetch(url: str, destination: Path, *, limits: FetchLimits, allow_private: bool, param: str) -> FetchedFile:
    """Download `url` to `destination`, which appears only when it is complete.

    Raises ServiceError with `param`: url_not_allowed, redirect_not_allowed, download_failed, download_timeout or
    media_too_large. The details name no more than the host in `url`: a query may hold a signature, and a redirect or a
    look-up may tell of the network inside.
    """
    address = parse_address(url)
    if address is None:
        raise ServiceError(
            "url_not_allowed", "Only http and https addresses with a valid host and without a password.", param=param
        )
    transport = OutboundTransport(allow_private=allow_private, total_seconds=limits.total_seconds)
    client = httpx.Client(
        transport=transport,
        trust_env=False,
        timeout=httpx.Timeout(limits.read_seconds, connect=limits.connect_seconds),
        headers={"User-Agent": "creatorify", "Accept": "*/*", "Accept-Encoding": "identity"},
        event_hooks={"response": [_stop_at_redirect]},
    )
    with client:
        return _follow(client, address, destination, limits, param)


def _follow(
    client: httpx.Client, address: httpx.URL, destination: Path, limits: FetchLimits, param: str
) -> FetchedFile:
    host = address.host
    for redirects in range(MAX_REDIRECTS + 1):
        try:
            with client.stream("GET", address) as response:
                return _save(response, host, destination, limits, param)
        except _Redirected as redirect:
            target = parse_address(redirect.location, base=address)
        except AddressNotAllowed as error:
            if redirects:
                raise _bad_redirect(host, param) from error
            detail = f"{host} does not lead to an address of the public internet. Is the name spelled right?"
            raise ServiceError("url_not_allowed", detail, param=param) from error
        except httpx.TimeoutException as error:
            raise ServiceError("download_timeout", f"{host} took too long to answer.", param=param) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            detail = f"{host} could not be reached, or the transfer broke off."
            raise ServiceError("download_failed", detail, param=param) from error
        if target is None:
            raise _bad_redirect(host, param)
        address = target
    raise ServiceError("download_failed", f"{host} redirected more than {MAX_REDIRECTS} times.", param=param)


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


def _save(response: httpx.Response, host: str, destination: Path, limits: FetchLimits, param: str) -> FetchedFile:
    if not response.is_success:
        raise ServiceError("download_failed", f"The server answered {response.status_code}.", param=param)
    encodings = response.headers.get("Content-Encoding", "").lower().replace(" ", "").split(",")
    if COMPRESSIONS.intersection(encodings):
        detail = f"{host} sent the file compressed, which was not asked for."
        raise ServiceError("download_failed", detail, param=param)
    too_large = ServiceError("media_too_large", f"The file is larger than {limits.max_bytes} bytes.", param=param)
    announced = response.headers.get("Content-Length", "")
    if re.fullmatch("[0-9]{1,18}", announced) and int(announced) > limits.max_bytes:
        raise too_large

    digest, size = hashlib.sha256(), 0
    with whole_file(destination) as partial, partial.open("wb") as file:
        for block in response.iter_raw():
            size += len(block)
            if size > limits.max_bytes:
                raise too_large
            digest.update(block)
            file.write(block)
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return FetchedFile(destination, digest.hexdigest(), size, content_type)
