"""What one client can make the web process hold: bodies too large, too slow or endless, answers that nobody reads."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from creatorify.asgi_middleware import client_limits
from creatorify.asgi_middleware.client_limits import ClientLimits

SCOPE = {"type": "http", "method": "POST", "path": "/api/v1/projects", "headers": []}
FOREVER = 3600


class Client:
    """The far end: sends the pieces of a body, each after a pause, and keeps what it is answered."""

    def __init__(self, *pieces: tuple[float, bytes], ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._ends = ends
        self.answer: list[dict[str, Any]] = []
        self.reads = True

    async def receive(self) -> dict[str, Any]:
        if not self._pieces:
            await asyncio.sleep(FOREVER)
        pause, piece = self._pieces.pop(0)
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or not self._ends}

    async def send(self, message: dict[str, Any]) -> None:
        if not self.reads:
            await asyncio.sleep(FOREVER)
        self.answer.append(message)

    @property
    def status(self) -> int:
        return self.answer[0]["status"]

    @property
    def header(self) -> dict[bytes, bytes]:
        return dict(self.answer[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.answer)


async def count(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """An application that answers how many bytes came."""
    number, more = 0, True
    while more:
        message = await receive()
        number += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(number).encode()})


def ask(client: Client, *, application: Any = count, **scope: Any) -> Client:
    asyncio.run(asyncio.wait_for(ClientLimits(application)({**SCOPE, **scope}, client.receive, client.send), 30))
    return client


@pytest.fixture(autouse=True)
def limits(settings, monkeypatch) -> None:
    settings.MAX_BODY_BYTES = 1000
    monkeypatch.setattr(client_limits, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(client_limits, "READ_SECONDS", 0.05)


def test_an_ordinary_body_reaches_the_application() -> None:
    assert ask(Client((0, b"x" * 400), (0, b"x" * 600))).body == b"1000"


@pytest.mark.parametrize("announced", [b"1001", b"99999999999999999999999"])
def test_a_body_that_is_announced_too_large_is_refused_unread(announced: bytes) -> None:
    client = ask(Client(ends=False), headers=[(b"content-length", announced)])

    problem = json.loads(client.body)
    assert (client.status, problem["code"], problem["detail"]) == (
        413,
        "payload_too_large",
        "A body may have at most 1000 bytes.",
    )
    assert client.header[b"connection"] == b"close"
    assert client.header[b"request-id"].decode() == problem["request_id"]


def test_a_body_that_grows_beyond_the_limit_is_refused_as_soon_as_it_does() -> None:
    client = ask(Client(*[(0, b"x" * 100)] * 11, ends=False))

    assert (client.status, client.header[b"connection"]) == (413, b"close")


def test_a_body_that_pauses_for_too_long_ends() -> None:
    client = ask(Client((0, b"abc"), ends=False))

    assert (client.status, json.loads(client.body)["code"]) == (408, "request_timeout")
    assert client.header[b"connection"] == b"close"


def test_a_body_that_comes_drop_by_drop_ends(monkeypatch) -> None:
    monkeypatch.setattr(client_limits, "GRACE_SECONDS", 0.1)

    client = ask(Client(*[(0.01, b"x")] * 500, ends=False))

    assert (client.status, json.loads(client.body)["code"]) == (408, "request_timeout")


def test_a_slow_body_that_is_fast_enough_is_taken(monkeypatch) -> None:
    monkeypatch.setattr(client_limits, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(client_limits, "MIN_BYTES_PER_SECOND", 1)

    assert ask(Client(*[(0.01, b"x")] * 20)).body == b"20"


def test_after_its_body_a_client_may_wait_for_as_long_as_it_likes() -> None:
    """`receive` then tells only that the client left: event streams listen for that all the time."""

    async def follow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 4 * client_limits.SILENCE_SECONDS)
        await count(scope, Client((0, b"")).receive, send)

    assert ask(Client((0, b"")), application=follow).status == 200


def test_a_streamed_answer_that_nobody_reads_ends() -> None:
    sent = 0

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        client.reads = False
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent += 1

    client = Client((0, b""))
    with pytest.raises(TimeoutError):
        ask(client, application=stream)

    assert sent == 0


def test_a_header_with_an_underscore_is_not_taken_for_the_one_with_a_hyphen() -> None:
    seen = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    ask(Client(), application=look, headers=[(b"x_forwarded_for", b"10.0.0.1"), (b"x-api-key", b"k")])

    assert seen == [(b"x-api-key", b"k")]


def test_the_size_of_an_upload_is_left_to_what_its_address_says() -> None:
    upload = {"method": "PUT", "path": "/api/v1/uploads/token/content"}

    assert ask(Client((0, b"x" * 5000)), **upload).body == b"5000"
    assert ask(Client((0, b"x" * 5000)), **{**upload, "method": "POST"}).status == 413
    assert ask(Client((0, b"abc"), ends=False), **upload).status == 408
