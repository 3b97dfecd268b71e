"""Headers that anybody can send, and that Python reads slowly or not at all, go no further than the first layer."""

import asyncio
import json
from typing import Any

import pytest

from creatorify.asgi_middleware.client_limits import ClientLimits

FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,*/*;q=0.8"


def send(*headers: tuple[bytes, bytes]) -> tuple[int, dict[str, Any], list[tuple[bytes, bytes]]]:
    """Status and body of the answer, and the headers that the application was given."""
    seen: list[tuple[bytes, bytes]] = []
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def keep(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": list(headers)}
    asyncio.run(ClientLimits(application)(scope, receive, keep))
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent)), seen


@pytest.mark.parametrize("name", [b"content-type", b"accept"])
@pytest.mark.parametrize(
    "value",
    [
        b'a/b;"' + b";" * 60_000,  # took 9 s
        b"a/b;" + b"c=d;" * 15_000,
        b"a/b," * 15_000,
        b"a/b; c*=x''y",  # was a 500
        b"a/b; c*=idna''%ff",
        b"a/b; c*0*=punycode''%ff%ff",
        b"a/b; c* =undefined''a",
    ],
    ids=lambda value: value[:20].decode(),
)
def test_a_media_type_that_is_slow_or_impossible_to_read_is_refused(name: bytes, value: bytes) -> None:
    status, body, seen = send((b"host", b"localhost"), (name, value))

    assert (status, body["code"], seen) == (400, "malformed", [])
    assert body["detail"].startswith("The header " + {b"accept": "Accept", b"content-type": "Content-Type"}[name])


@pytest.mark.parametrize(
    "header",
    [
        (b"accept", FIREFOX),
        (b"accept", b"*/*"),
        (b"accept", b"application/json; q=1, */*; q=0.5"),
        (b"content-type", b'application/json; charset="utf-8"'),
        (b"content-type", b"multipart/form-data; boundary=" + b"-" * 70),
    ],
)
def test_what_clients_send_is_passed_on(header: tuple[bytes, bytes]) -> None:
    assert send(header) == (200, {}, [header])


@pytest.mark.parametrize("value", [b'a="' + b"\\\\" * 30_000 + b'"', b'a="' + b'\\"' * 30_000 + b'"', b'a="b"'])
def test_a_cookie_with_a_quote_is_left_out(value: bytes) -> None:
    """It took 27 s; no cookie of ours has one."""
    status, _, seen = send((b"cookie", b"csrftoken=abc; " + value + b"; sessionid=xyz"))

    assert (status, seen) == (200, [(b"cookie", b"csrftoken=abc; sessionid=xyz")])
