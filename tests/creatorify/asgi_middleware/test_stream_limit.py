"""One key cannot keep all connections open for its news."""

import asyncio
from typing import Any

import pytest

from creatorify.asgi_middleware.stream_limit import StreamLimit

EVENTS = "/api/v1/projects/0f5a3f5e-0000-4000-8000-000000000000/events"
STATUS = EVENTS.replace("events", "status")


def open_together(requests: list[dict[str, Any]]) -> list[int]:
    """The status that each gets while all before it are still open."""

    async def hold(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await ended.wait()

    async def ask(scope: dict[str, Any], statuses: list[int]) -> None:
        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                answered.set()

        answered.clear()
        tasks.append(asyncio.create_task(limit({"type": "http", "method": "GET", "headers": [], **scope}, None, send)))  # type: ignore[arg-type]
        await answered.wait()

    async def scene() -> list[int]:
        statuses: list[int] = []
        for request in requests:
            await ask(request, statuses)
        ended.set()
        await asyncio.gather(*tasks)
        again: list[int] = []
        await ask(requests[0], again)
        await asyncio.gather(*tasks)
        assert again == [200]  # What has ended counts no more.
        return statuses

    limit = StreamLimit(hold)
    tasks: list[asyncio.Task[None]] = []
    answered, ended = asyncio.Event(), asyncio.Event()
    return asyncio.run(asyncio.wait_for(scene(), 30))


@pytest.fixture(autouse=True)
def few(settings) -> None:
    settings.MAX_CONNECTIONS = 8  # So a key may hold 2.


def with_key(key: bytes, path: str = EVENTS, *more: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"path": path, "headers": [(b"x-api-key", key), *more]}


def test_a_key_may_hold_its_share_and_others_theirs() -> None:
    waiting = with_key(b"a", STATUS, (b"prefer", b"wait=20"))

    statuses = open_together([with_key(b"a"), waiting, with_key(b"a"), waiting, with_key(b"b")])

    assert statuses == [200, 200, 429, 429, 200]


def test_a_key_is_the_same_in_either_header() -> None:
    bearer = {"path": EVENTS, "headers": [(b"authorization", b"Bearer a")]}

    assert open_together([bearer, bearer, bearer]) == [200, 200, 429]


def test_ordinary_requests_are_not_counted() -> None:
    assert open_together([with_key(b"a", STATUS)] * 5) == [200] * 5
