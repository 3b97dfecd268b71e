"""One tenant cannot keep all connections open for its news."""

import asyncio
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from accounts.api_keys import keys
from accounts.models import ApiKey
from creatorify.asgi_middleware.stream_limit import StreamLimit

pytestmark = pytest.mark.django_db(transaction=True)

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
    settings.MAX_CONNECTIONS = 8  # So a tenant may hold 2.


def with_headers(*headers: tuple[bytes, str], path: str = EVENTS) -> dict[str, Any]:
    return {"path": path, "headers": [(name, value.encode()) for name, value in headers]}


def with_key(key: str, path: str = EVENTS) -> dict[str, Any]:
    return with_headers((b"x-api-key", key), path=path)


def test_a_tenant_may_hold_its_share_and_others_theirs(alice, charlie) -> None:
    key = alice.plain_key
    waiting = with_headers((b"x-api-key", key), (b"prefer", "wait=20"), path=STATUS)

    statuses = open_together([with_key(key), waiting, with_key(key), waiting, with_key(charlie.plain_key)])

    assert statuses == [200, 200, 429, 429, 200]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", "Bearer KEY")],
        [(b"authorization", "bEARER   KEY ")],
        [(b"x-api-key", ""), (b"authorization", "bearer KEY")],
        [(b"x-api-key", "KEY"), (b"authorization", "Bearer cf_live_other")],
    ],
    ids=str,
)
def test_however_a_key_is_sent_it_counts_for_its_tenant(alice, headers) -> None:
    spelled = with_headers(*((name, value.replace("KEY", alice.plain_key)) for name, value in headers))

    assert open_together([with_key(alice.plain_key), with_key(alice.plain_key), spelled]) == [200, 200, 429]


def test_all_keys_of_a_tenant_count_together(alice, bob, acme) -> None:
    _, test_key = keys.issue(acme, name="test", mode=ApiKey.Mode.TEST)

    assert open_together([with_key(key) for key in (alice.plain_key, bob.plain_key, test_key)]) == [200, 200, 429]


def test_the_processes_share_what_a_tenant_may_hold(alice, settings) -> None:
    settings.WEB_CONCURRENCY = 2

    assert open_together([with_key(alice.plain_key)] * 2) == [200, 429]


@pytest.mark.parametrize("key", ["", "x", "cf_live_00000000_0123456789abcdefghijklmnopqrstuv_000000"])
def test_what_is_no_key_is_left_to_the_application_which_refuses_it(key) -> None:
    assert open_together([with_key(key)] * 5) == [200] * 5


def test_ordinary_requests_are_not_counted(alice) -> None:
    assert open_together([with_key(alice.plain_key, STATUS)] * 5) == [200] * 5


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_while_the_database_is_away_the_application_answers(alice, monkeypatch, error) -> None:
    def away(prefix: str) -> None:
        raise error("away")

    monkeypatch.setattr(keys, "tenant_id_of", away)

    assert open_together([with_key(alice.plain_key)] * 5) == [200] * 5
