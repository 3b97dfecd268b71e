"""GET /api/v1/projects/{id}/events: the progress as server-sent events (HTML Living Standard, 9.2)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse
from rest_framework.renderers import JSONRenderer

from projects.progress.watcher import Access, AccessEnded, Snapshot, watcher

CONTENT_TYPE = "text/event-stream"
EVENT_SCHEMA = {
    "type": "object",
    "description": "Each event.",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "enum": ["status"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Status"},
        },
    },
}
KEEP_ALIVE_SECONDS = 15.0  # Of silence; proxies close connections that are silent for longer.
RETRY_MILLISECONDS = 2000
READ_SECONDS = 1.0  # Streams woken by the same change share one read for this long.
# The reads that are going on, or have just ended: by project, what has changed, and what links begin with.
_reads: dict[tuple[UUID, Snapshot, str], asyncio.Future[str | None]] = {}


def stream(
    project_id: UUID, read_status: Callable[[], dict[str, Any] | None], *, base_url: str, access: Access
) -> StreamingHttpResponse:
    """The response that follows a project.

    read_status: returns what `GET .../status` shows, None once the project is gone.
    base_url: what links begin with.
    """
    response = StreamingHttpResponse(_events(project_id, read_status, base_url, access), content_type=CONTENT_TYPE)
    response["X-Accel-Buffering"] = "no"  # nginx would keep events until it has a block of them.
    return response


async def _events(
    project_id: UUID, read_status: Callable[[], dict[str, Any] | None], base_url: str, access: Access
) -> AsyncIterator[str]:
    # Else the view's database connection would be kept until the stream ends.
    await sync_to_async(_close_connection)()
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    seen: Snapshot | None = None
    number = 0
    while seen is None or not seen.is_last:
        try:
            change = await watcher().wait(project_id, seen, seconds=KEEP_ALIVE_SECONDS, access=access)
        except AccessEnded:
            return  # The answer to the client's next request says why.
        if change is None:
            yield ": still here\n\n"
            continue
        seen = change
        data = await _read_once((project_id, change, base_url), read_status)
        if data is None:
            return
        number += 1
        yield f"id: {number}\nevent: status\ndata: {data}\n\n"


def _close_connection() -> None:
    connection.close()  # Of the thread that this runs in.


async def _read_once(key: tuple[UUID, Snapshot, str], read_status: Callable[[], dict[str, Any] | None]) -> str | None:
    """Read the status once for all streams that were woken by the same change."""

    def read() -> str | None:
        try:
            status = read_status()
        finally:
            connection.close()
        return None if status is None else json.dumps(json.loads(JSONRenderer().render(status)))

    task = _reads.get(key)
    has_failed = task is not None and task.done() and task.exception() is not None
    loop = asyncio.get_running_loop()
    if task is None or has_failed or task.get_loop() is not loop:
        task = _reads[key] = asyncio.ensure_future(sync_to_async(read, thread_sensitive=False)())
        task.add_done_callback(lambda done: loop.call_later(READ_SECONDS, _forget, key, done))
    return await asyncio.shield(task)


def _forget(key: tuple[UUID, Snapshot, str], read: asyncio.Future[str | None]) -> None:
    if _reads.get(key) is read:
        del _reads[key]
