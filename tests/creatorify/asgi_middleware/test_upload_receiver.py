"""What takes the files of uploads before Django does: clients that are cut off, full disks, a database that is away."""

import asyncio
import errno
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.models import Tenant
from creatorify.asgi_middleware import upload_receiver
from creatorify.asgi_middleware.upload_receiver import UploadReceiver
from projects.assets import arrivals
from projects.assets import services as assets
from projects.models import Asset
from projects.retention import policy as retention
from projects.tasks import delete_media, tend_assets
from render.storage.backends import files
from tests.postgres import Database
from tests.render.media_makers import picture

pytestmark = pytest.mark.django_db(transaction=True)

CONTENT = picture("JPEG").ljust(arrivals.BLOCK_BYTES + 1000, b"\0")


class TooSlow(Exception):
    """What a limit of the time or the rate of a body raises, around `receive`."""


async def passed_on(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Request:
    """One PUT; `blocks` is put into what the client sends."""

    def __init__(self, url: str, *, method: str = "PUT", length: int | None = len(CONTENT)) -> None:
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.scope = {"type": "http", "method": method, "path": urlsplit(url).path, "headers": headers}
        self.blocks: asyncio.Queue[dict | Exception] = asyncio.Queue()
        self.sent: list[dict] = []

    def body(self, *blocks: bytes) -> None:
        """The whole of it."""
        for number, block in enumerate(blocks, 1):
            self.blocks.put_nowait({"type": "http.request", "body": block, "more_body": number < len(blocks)})

    async def receive(self) -> dict:
        message = await self.blocks.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: dict) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def answer(self) -> dict:
        return json.loads(self.sent[1]["body"])


@asynccontextmanager
async def receiving() -> AsyncIterator[Callable[[Request], Awaitable[None]]]:
    receiver = UploadReceiver(passed_on)
    try:
        yield lambda request: asyncio.wait_for(receiver(request.scope, request.receive, request.send), 30)
    finally:
        await asyncio.to_thread(receiver._threads.shutdown)
    assert dict(receiver._of_tenant) == {}


def stored() -> list[Path]:
    return [path for path in Path(default_storage.location).rglob("*") if path.is_file()]


@pytest.fixture
def announce():
    def call(caller, content: bytes = CONTENT) -> dict:
        body = {"filename": "me.jpg", "content_type": "image/jpeg", "bytes": len(content)}
        body["sha256"] = hashlib.sha256(content).hexdigest()
        return caller.post("/api/v1/uploads", body, format="json").json()

    return call


@pytest.fixture
def strangers(charlie, announce) -> Asset:
    return Asset.objects.get(pk=announce(charlie)["upload_id"])


def put(url: str, *blocks: bytes, **options) -> Request:
    request = Request(url, **options)

    async def run() -> None:
        async with receiving() as receive:
            request.body(*blocks)
            await receive(request)

    asyncio.run(run())
    return request


def test_it_takes_a_file_in_pieces_and_nothing_but_a_put(alice, announce, strangers) -> None:
    upload = announce(alice)

    for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
        assert put(upload["url"], b"", method=method).status == 299
    assert put("/api/v1/projects", b"").status == 299
    taken = put(upload["url"], *[CONTENT[start : start + 700] for start in range(0, len(CONTENT), 700)])

    assert (taken.status, taken.answer) == (200, {"upload_id": upload["upload_id"], "state": "waiting"})
    asset = Asset.objects.get(pk=upload["upload_id"])
    assert [path.read_bytes() for path in stored()] == [CONTENT]
    assert default_storage.path(asset.key) == str(stored()[0])
    assert stored()[0].stat().st_mode & 0o777 == 0o600
    strangers.refresh_from_db()
    assert strangers.uploaded_at is None


@pytest.mark.parametrize("end", [TooSlow(), {"type": "http.disconnect"}, "cancelled"])
def test_a_body_that_breaks_off_leaves_nothing(alice, announce, strangers, end) -> None:
    upload = announce(alice)
    request = Request(upload["url"])

    async def run() -> None:
        async with receiving() as receive:
            request.blocks.put_nowait({"type": "http.request", "body": CONTENT[:-1], "more_body": True})
            receiving_it = asyncio.ensure_future(receive(request))
            while not stored():
                await asyncio.sleep(0.01)
            if end == "cancelled":
                receiving_it.cancel()
            else:
                request.blocks.put_nowait(end)
            await receiving_it

    if isinstance(end, dict):
        asyncio.run(run())
    else:
        with pytest.raises(TooSlow if isinstance(end, TooSlow) else asyncio.CancelledError):
            asyncio.run(run())

    assert request.sent == []
    assert stored() == []
    assert Asset.objects.get(pk=upload["upload_id"]).uploaded_at is None
    assert put(upload["url"], CONTENT).status == 200


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("at", ["open", "write", "close"])
def test_a_disk_that_does_not_take_it_is_told_and_nothing_is_left(
    alice, announce, strangers, monkeypatch, code, at
) -> None:
    upload = announce(alice)

    def full(*arguments) -> None:
        raise OSError(code, os.strerror(code))

    steps = {"open": (files.incomplete_files, "create"), "write": (files.os, "write"), "close": (files.os, "dup")}
    with monkeypatch.context() as broken:
        broken.setattr(*steps[at], full)
        refused = put(upload["url"], CONTENT[:-1], CONTENT[-1:])

    headers = dict(refused.sent[0]["headers"])
    assert (refused.status, refused.answer["code"], refused.answer["retryable"]) == (503, "unavailable", True)
    assert int(headers[b"retry-after"]) > 0 and headers[b"connection"] == b"close"
    assert stored() == []
    assert put(upload["url"], CONTENT).status == 200


def test_the_row_is_looked_up_beside_the_loop(alice, announce, strangers) -> None:
    """While the database does not answer, everything else does."""
    upload = announce(alice)
    request = Request(upload["url"])
    request.body(CONTENT)

    async def run() -> None:
        async with receiving() as receive:
            taking = asyncio.ensure_future(receive(request))
            await asyncio.sleep(0.2)
            other = Request("/api/v1/projects")
            await receive(other)
            assert other.status == 299 and not taking.done()
            locked.rollback()
            await taking

    with psycopg.connect(Database(connection.settings_dict["NAME"]).url()) as locked:
        locked.execute("LOCK TABLE projects_asset IN ACCESS EXCLUSIVE MODE")
        asyncio.run(run())

    assert request.status == 200


def test_after_an_answer_that_the_database_did_not_give_the_file_is_kept_for_who_may_name_it(
    alice, announce, strangers, monkeypatch
) -> None:
    lost, kept = announce(alice), announce(alice, CONTENT[:-1])
    real = assets.arrived

    def away_before(*arguments, **named):
        raise OperationalError("The server closed the connection.")

    def away_after(*arguments, **named):
        real(*arguments, **named)
        raise OperationalError("The server closed the connection.")

    with monkeypatch.context() as away:
        away.setattr(assets, "arrived", away_before)
        refused = put(lost["url"], CONTENT)
        assert (refused.status, refused.answer["code"]) == (503, "unavailable")
        away.setattr(assets, "arrived", away_after)
        assert put(kept["url"], CONTENT[:-1], length=len(CONTENT) - 1).status == 503
    assert len(stored()) == 2

    retention.run()  # Both are still young.
    delete_media()
    assert len(stored()) == 2
    for path in stored():
        os.utime(path, (0, 0))
    retention.run()
    delete_media()
    assert len(stored()) == 1
    tend_assets()
    assert Asset.objects.get(pk=kept["upload_id"]).state == "ready"
    assert Asset.objects.get(pk=lost["upload_id"]).uploaded_at is None
    assert put(lost["url"], CONTENT).status == 200


def test_one_process_takes_so_many_at_once(alice, charlie, announce, strangers, monkeypatch) -> None:
    monkeypatch.setattr(upload_receiver, "AT_ONCE", 1)
    first, second = Request(announce(alice)["url"]), Request(announce(charlie, CONTENT[:-1])["url"], length=None)

    async def run() -> None:
        async with receiving() as receive:
            taking = asyncio.ensure_future(receive(first))
            await asyncio.sleep(0)
            await receive(second)
            first.body(CONTENT)
            await taking

    asyncio.run(run())

    assert (first.status, second.status, second.answer["code"]) == (200, 503, "unavailable")


def test_a_tenant_has_a_small_share_of_the_places_from_the_first_moment(alice, charlie, announce, strangers) -> None:
    """Also while the database is still asked what a body is for."""
    upload = announce(alice)
    many = [Request(upload["url"]) for _ in range(upload_receiver.AT_ONCE)]
    other = Request(announce(charlie, CONTENT[:-1])["url"], length=len(CONTENT) - 1)

    async def run() -> None:
        async with receiving() as receive:
            taking = [asyncio.ensure_future(receive(request)) for request in many]
            await asyncio.sleep(0)
            other.body(CONTENT[:-1])
            await receive(other)
            for request in many:
                request.blocks.put_nowait({"type": "http.disconnect"})
            await asyncio.gather(*taking)

    asyncio.run(run())

    assert other.status == 200
    refused = [request for request in many if request.sent]
    assert len(refused) == upload_receiver.AT_ONCE - upload_receiver.AT_ONCE_OF_TENANT
    assert {(request.status, request.answer["code"]) for request in refused} == {(429, "too_many_uploads")}
    assert upload_receiver.AT_ONCE_OF_TENANT * 16 <= upload_receiver.AT_ONCE


def test_a_body_ends_with_its_announcement_however_regularly_it_comes(alice, announce, strangers, monkeypatch) -> None:
    upload = announce(alice)
    request = Request(upload["url"])
    passed = [0.0]
    monkeypatch.setattr(arrivals, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0]))

    async def run() -> None:
        async with receiving() as receive:
            taking = asyncio.ensure_future(receive(request))
            request.blocks.put_nowait({"type": "http.request", "body": CONTENT[:-2], "more_body": True})
            while not stored():
                await asyncio.sleep(0.01)
            assert not taking.done()
            passed[0] = 3600.0
            request.blocks.put_nowait({"type": "http.request", "body": CONTENT[-2:-1], "more_body": True})
            await taking

    asyncio.run(run())

    assert (request.status, request.answer["code"]) == (410, "upload_expired")
    assert stored() == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"state": "expired"}, 410, "upload_expired"),
        ({"deleted_at": "now"}, 404, "not_found"),
        ({"state": "ready"}, 409, "invalid_state"),
        ({"uploaded_at": "now"}, 409, "invalid_state"),
        ({"tenant": "suspended"}, 403, "tenant_suspended"),
        ({"link": "old"}, 410, "upload_expired"),
    ],
)
def test_what_is_not_awaited_is_refused_before_it_comes(
    alice, announce, strangers, settings, change, status, code
) -> None:
    upload = announce(alice)
    if "tenant" in change:
        Tenant.objects.filter(pk=alice.tenant.pk).update(suspended_at=timezone.now())
    elif "link" in change:
        settings.UPLOAD_SECONDS = -1
    else:
        now = {name: timezone.now() if value == "now" else value for name, value in change.items()}
        Asset.objects.filter(pk=upload["upload_id"]).update(**now)

    refused = put(upload["url"])  # without a body

    assert (refused.status, refused.answer["code"]) == (status, code)
    assert stored() == []
    settings.UPLOAD_SECONDS = 3600
    theirs = strangers.key
    token = files.SignedFileStorage().direct_upload(
        theirs, content_type="", num_bytes=len(CONTENT), sha256="", seconds=1
    )
    assert put(token.url, CONTENT).status == 200


def test_a_database_that_is_away_is_told(alice, announce, strangers, monkeypatch) -> None:
    upload = announce(alice)

    def away(*arguments):
        raise OperationalError("The server closed the connection.")

    with monkeypatch.context() as patch:
        patch.setattr(arrivals, "_find", away)
        refused = put(upload["url"], CONTENT)

    assert (refused.status, refused.answer["code"]) == (503, "unavailable")
    assert put(upload["url"], CONTENT).status == 200
