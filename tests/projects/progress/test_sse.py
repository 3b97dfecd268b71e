"""What streams are told. The whole way of a stream: tests/service/test_live.py."""

import asyncio
from uuid import UUID, uuid4

import pytest
from django.db import InterfaceError, OperationalError

from projects.progress import sse, watcher
from projects.progress.watcher import Snapshot, Watcher


def test_streams_that_are_told_at_once_read_once_and_a_later_one_reads_anew(monkeypatch) -> None:
    monkeypatch.setattr(sse, "READ_SECONDS", 0.0)
    key = (uuid4(), Snapshot(uuid4(), "finished", "done", 100), "http://localhost")
    reads = []

    def read() -> dict:
        reads.append("read")
        return {"video_url": f"link {len(reads)}"}

    async def tell() -> list:
        at_once = await asyncio.gather(*(sse._read_once(key, read) for _ in range(3)))
        await asyncio.sleep(0.01)
        return [*at_once, await sse._read_once(key, read)]

    assert asyncio.run(tell()) == [*['{"video_url": "link 1"}'] * 3, '{"video_url": "link 2"}']


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_streams_wait_while_the_database_is_away(monkeypatch, error) -> None:
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.0)
    project_id, change = uuid4(), Snapshot(uuid4(), "running", "prepare", 1)
    errors = [error("away")]

    async def query(project_ids: set[UUID]) -> dict[UUID, Snapshot]:
        if errors:
            raise errors.pop()
        return {project_id: change}

    monkeypatch.setattr(watcher, "_query", query)

    assert asyncio.run(Watcher().wait(project_id, None, seconds=60)) == change
    assert errors == []
