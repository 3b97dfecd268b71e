"""Whose address counts, whatever a client or a proxy writes into the header."""

import pytest
from django.test import Client, RequestFactory

from accounts import audit
from accounts.models import ApiKey, AuditEntry

PROXY = "192.0.2.1"


@pytest.mark.parametrize(
    ("proxies", "header", "address"),
    [
        (0, "10.1.2.3", PROXY),
        (0, "garbage", PROXY),
        (1, None, PROXY),
        (1, "", PROXY),
        (1, " , ,", PROXY),
        (1, "10.1.2.3", "10.1.2.3"),
        (1, "6.6.6.6, 10.1.2.3", "10.1.2.3"),
        (1, "6.6.6.6,10.1.2.3,", "10.1.2.3"),
        (2, "6.6.6.6, 10.1.2.3, 10.9.9.9", "10.1.2.3"),
        (2, "10.1.2.3", "10.1.2.3"),
        (1, "10.1.2.3:5678", "10.1.2.3"),
        (1, "[2001:db8::1]:443", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, "2001:DB8::1", "2001:db8::1"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "::ffff:10.1.2.3", "10.1.2.3"),
        # What is no address is nobody's: not the proxy's either, whom a key may be bound to.
        (1, "garbage", None),
        (1, "unknown", None),
        (1, "10.1.2.3, garbage", None),
        (1, "10.1.2.3.4", None),
        (1, "'; DROP TABLE", None),
        (1, "1" * 20_000, None),
    ],
)
def test_the_address(settings, proxies, header, address):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    headers = {} if header is None else {"X-Forwarded-For": header}
    request = RequestFactory(REMOTE_ADDR=PROXY).get("/", headers=headers)

    assert audit.ip_address_of(request) == address


@pytest.mark.parametrize("remote", ["", "unix:", "garbage"])
def test_a_socket_without_an_address_has_none(remote):
    assert audit.ip_address_of(RequestFactory(REMOTE_ADDR=remote).get("/")) is None


@pytest.mark.parametrize("header", ["garbage", "1.2.3.4:80", "[::1]:80", "fe80::1%eth0", "\u00e4"])
def test_whatever_the_header_says_an_audited_deed_is_done(alice, settings, header):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    ApiKey.objects.update(scopes=["keys:admin", "projects:read"])

    answer = alice.post("/api/v1/keys", {"name": "x"}, format="json", headers={"X-Forwarded-For": header})

    assert answer.status_code == 201
    assert AuditEntry.objects.count() == 1


def test_a_bound_key_does_not_open_by_garbage(alice, settings):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    ApiKey.objects.update(allowed_ips=["127.0.0.0/8", "10.0.0.0/8"])

    def status(header: str) -> int:
        return alice.get("/api/v1/projects", headers={"X-Forwarded-For": header}).status_code

    assert status("garbage") == status("6.6.6.6") == status("10.1.2.3, 6.6.6.6") == 403
    assert status("6.6.6.6, 10.1.2.3:99") == status("::ffff:10.1.2.3") == 200
    assert Client(REMOTE_ADDR="10.1.2.3").get("/healthz").status_code == 200
