"""Outgoing HTTP to customers' addresses: no request reaches the private network (SSRF), and each connection ends.

The check sits in the network backend, below redirects, keep-alive and TLS. A name is resolved once, all its IP
addresses are checked, and the connection goes to a checked one, so that a second DNS answer cannot change it (DNS
rebinding). The Host header, SNI and the check of the certificate still use the name.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import httpcore
import httpx

# All IPv6 addresses of public servers lie here (RFC 4291, 2.4).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Networks with an IPv4 address in the last 32 bits: NAT64 (RFC 6052), IPv4-translated (RFC 2765), IPv4-compatible
# (RFC 4291).
_ENDS_IN_IPV4 = [ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")]
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: the 32 bits before an IPv4 address
_FORBIDDEN = (
    # Registered as global, but internal: Azure answers every virtual machine there.
    ipaddress.ip_network("168.63.129.16/32"),
    # Not public, but Python 3.11 does not know these, or only parts of them.
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),
    ipaddress.ip_network("3fff::/20"),
)


class AddressNotAllowed(Exception):
    """The name has an address that customers must not reach, or no address at all.

    Which of both it is must not be told: else a customer could find out, name by name, what the private network holds.
    may_pass: the resolver failed for now. Decides whether to try again, and is never shown.
    """

    def __init__(self, *, may_pass: bool = False) -> None:
        super().__init__()
        self.may_pass = may_pass


class NameTimeout(httpcore.ConnectTimeout):
    """The resolver took too long."""


class NoAddress(httpcore.ConnectError):
    """The resolver knows the name, but no address of it."""


def is_public(address: str) -> bool:
    """Whether an IP address, and any IPv4 address wrapped in it, is a unicast address of the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if any(parsed.version == network.version and parsed in network for network in _FORBIDDEN):
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        wrapped = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo and parsed.teredo[1])
        is_isatap = int(parsed) >> 32 & 0xFFFFFFFF in _ISATAP
        if is_isatap or any(parsed in network for network in _ENDS_IN_IPV4):
            wrapped = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if wrapped:
            return is_public(str(wrapped))
        if parsed not in _GLOBAL_UNICAST:
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


@cache
def authorities() -> ssl.SSLContext:
    """Whose certificates are trusted. To read them takes 30 ms, which no download and no webhook need spend again."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    # httpcore sets the same again for each connection. OpenSSL frees the old list then, which another thread may be
    # reading for a connection of its own.
    context.set_alpn_protocols = lambda alpn_protocols: None  # type: ignore[method-assign]
    return context


class SsrfGuardTransport(httpx.HTTPTransport):
    """An httpx transport for one request and its redirects, which must end within `total_seconds`.

    allow_private: for an operator whose sources are in the private network. Raises AddressNotAllowed, or the errors of
    httpx; after `total_seconds` an httpx.TimeoutException, also when bytes still arrive now and then.
    """

    def __init__(self, *, allow_private: bool, total_seconds: float) -> None:
        super().__init__(verify=authorities())
        # httpx has no argument for a network backend, so its pool is replaced.
        self._pool = httpcore.ConnectionPool(
            ssl_context=authorities(),
            network_backend=_Backend(allow_private, time.monotonic() + total_seconds),
        )


class _Backend(httpcore.SyncBackend):
    def __init__(self, allow_private: bool, deadline: float) -> None:
        self._allow_private = allow_private
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            answers = _resolve(host, port, _time_left(self._deadline, timeout))
        except httpcore.ConnectError as error:
            if self._allow_private:
                raise
            cause = error.__cause__
            raise AddressNotAllowed(
                may_pass=isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
            ) from None
        addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        if not self._allow_private and not (addresses and all(map(is_public, addresses))):
            raise AddressNotAllowed
        failure: Exception = NoAddress()
        for address in addresses:  # a name may have an IPv6 address, and this machine no IPv6
            try:
                stream = super().connect_tcp(
                    address, port, _time_left(self._deadline, timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _StreamWithDeadline(stream, self._deadline)
        raise failure


class _StreamWithDeadline(httpcore.NetworkStream):
    """A stream whose waits all end at the deadline: with a timeout per read, one byte a second could go on for ever."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _time_left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _time_left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = _time_left(self._deadline, timeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _StreamWithDeadline(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve(host: str, port: int, timeout: float) -> list[Any]:
    """Look the name up in a thread, which is left behind after the timeout: the resolver's own cannot be set."""
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM).result(timeout)
    except TimeoutError as error:
        raise NameTimeout from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("name not found") from error
    finally:
        pool.shutdown(wait=False)


def _time_left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the total time is over")
    return left if timeout is None else min(left, timeout)
