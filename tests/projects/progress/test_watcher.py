"""Who waits for a change of a project, among others that come and go."""

import asyncio
import threading
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async

from projects.progress import watcher
from projects.progress.watcher import Snapshot, Watcher


def test_who_comes_during_a_query_waits_for_the_next(monkeypatch) -> None:
    first, second = uuid4(), uuid4()
    asked, go_on = threading.Event(), threading.Event()

    def read(projects: set[UUID]) -> dict[UUID, Snapshot]:
        asked.set()
        go_on.wait(60)
        return {project: Snapshot(project, "running") for project in projects}

    monkeypatch.setattr(watcher, "_query", sync_to_async(read, thread_sensitive=False))
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.01)

    async def both() -> list[Snapshot | None]:
        watches = Watcher()
        waits = [asyncio.create_task(watches.wait(first, None, seconds=60))]
        await asyncio.to_thread(asked.wait, 60)
        waits.append(asyncio.create_task(watches.wait(second, None, seconds=60)))
        await asyncio.sleep(0)  # It waits now.
        go_on.set()
        return await asyncio.gather(*waits)

    # And is not told that its project does not exist.
    assert asyncio.run(both()) == [Snapshot(first, "running"), Snapshot(second, "running")]
