"""Requests on threads that stay: one at a time each, and never a stream."""

import asyncio
import threading

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from creatorify import request_threads
from creatorify.request_threads import RequestThreads

STREAM = "/api/v1/projects/0f5a3f5e-0000-4000-8000-000000000000/events"


def serve(*paths: str, together: bool) -> list[int]:
    """The threads that answered, by a server such as Django."""
    threads: list[int] = []
    arrived = asyncio.Event()

    async def server(scope, receive, send) -> None:
        async with ThreadSensitiveContext():
            threads.append(await sync_to_async(threading.get_ident)())
            if len(threads) == len(paths):
                arrived.set()
            if together:
                await arrived.wait()
            assert await sync_to_async(threading.get_ident)() in threads

    async def ask() -> None:
        application = RequestThreads(server)
        calls = [application({"type": "http", "path": path}, None, None) for path in paths]
        if together:
            await asyncio.gather(*(asyncio.create_task(call) for call in calls))
        else:
            for call in calls:
                await asyncio.create_task(call)

    asyncio.run(ask())
    return threads


def test_one_after_the_other_runs_in_the_same_thread() -> None:
    assert len(set(serve("/a", "/b", "/c", together=False))) == 1


def test_each_has_a_thread_for_itself_and_there_is_always_one_more(monkeypatch) -> None:
    monkeypatch.setattr(request_threads, "KEPT", 2)

    assert len(set(serve("/a", "/b", "/c", "/d", together=True))) == 4


def test_a_stream_takes_none_of_those_that_stay(monkeypatch) -> None:
    monkeypatch.setattr(request_threads, "KEPT", 1)
    request, stream, other = serve("/a", STREAM, "/b", together=False)

    assert request == other != stream
