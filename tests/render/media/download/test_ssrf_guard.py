import socket
import time

import httpx
import pytest

from render.media.download.ssrf_guard import SsrfGuardTransport, is_public
from tests.hostile_addresses import INSIDE, OUTSIDE


@pytest.mark.parametrize("address", OUTSIDE)
def test_it_knows_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_it_knows_addresses_that_are_none_of_a_strangers_business(address: str) -> None:
    assert not is_public(address)


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: time.sleep(3))
    transport = SsrfGuardTransport(allow_private=False, total_seconds=0.2)

    started = time.monotonic()
    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectTimeout):
        client.get("http://slow.example/")
    assert time.monotonic() - started < 2
