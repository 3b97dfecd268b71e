"""Requests on threads that stay, and those that are given one of their own."""

import asyncio
import threading

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from creatorify.request_threads import RequestThreads

STREAM = "/api/v1/projects/0f5a3f5e-0000-4000-8000-000000000000/events"


def serve(*paths: str, number: int, together: bool = False) -> list[int]:
    """The threads that answered, by a server such as Django. together: all are asked before one is answered."""
    threads: list[int] = []
    arrived = asyncio.Event()

    async def server(scope, receive, send) -> None:
        async with ThreadSensitiveContext():
            thread = await sync_to_async(threading.get_ident)()
            threads.append(thread)
            if not together or len(threads) == len(paths):
                arrived.set()
            await arrived.wait()
            assert await sync_to_async(threading.get_ident)() == thread

    async def ask() -> None:
        application = RequestThreads(server, number=number)
        calls = [application({"type": "http", "path": path}, None, None) for path in paths]
        if together:
            await asyncio.gather(*map(asyncio.create_task, calls))
        else:
            for call in calls:
                await asyncio.create_task(call)

    asyncio.run(asyncio.wait_for(ask(), 10))
    return threads


def test_one_after_the_other_runs_in_the_same_thread() -> None:
    assert len(set(serve("/a", "/b", "/c", number=5))) == 1


def test_those_at_once_spread_over_the_threads_and_none_waits_for_another_that_waits_for_its_client() -> None:
    threads = serve(*"abcdef", number=3, together=True)

    assert sorted(threads.count(thread) for thread in set(threads)) == [2, 2, 2]


def test_without_a_pool_of_connections_requests_are_answered_as_django_does() -> None:
    assert len(set(serve("/a", "/b", "/c", number=0, together=True))) == 3


def test_what_takes_long_keeps_nobody_from_a_thread() -> None:
    request, long, other = serve("/a", STREAM, "/b", number=1)

    assert request == other != long
