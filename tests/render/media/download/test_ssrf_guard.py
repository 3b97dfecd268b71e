import socket
import ssl
import time

import httpx
import pytest

from render.media.download.ssrf_guard import SsrfGuardTransport, authorities, is_public
from tests.hostile_addresses import INSIDE, OUTSIDE


@pytest.mark.parametrize("address", OUTSIDE)
def test_it_knows_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_it_knows_addresses_that_are_none_of_a_strangers_business(address: str) -> None:
    assert not is_public(address)


def test_a_connection_does_not_change_the_context_that_all_share() -> None:
    """OpenSSL does not allow that while another thread uses it."""
    authorities().set_alpn_protocols(["h2"])

    hello, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        authorities().wrap_bio(answer, hello, server_hostname="media.example").do_handshake()
    sent = hello.read()
    assert b"http/1.1" in sent and b"\x02h2" not in sent


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: time.sleep(3))
    transport = SsrfGuardTransport(allow_private=False, total_seconds=0.2)

    started = time.monotonic()
    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectTimeout):
        client.get("http://slow.example/")
    assert time.monotonic() - started < 2
