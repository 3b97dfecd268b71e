"""Progress as it happens, through the real web server: server-sent events, answers that wait, and many of both."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.utils import timezone

from accounts.api_keys import keys
from accounts.models import ApiKey, Tenant
from tests.engines import let_go_on
from tests.stack import until


def events_of(lines: Iterator[str]) -> Iterator[dict]:
    """Until the server ends the stream. lines: of the response."""
    return (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def test_progress_is_told_as_it_happens(service, client, post, charlie, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    project_id = post("held", prompt=str(go_on))
    url = client.get(f"/projects/{project_id}").json()["urls"]["events"]
    told: list[dict] = []

    with (
        ThreadPoolExecutor() as threads,
        httpx.stream("GET", url, headers={**client.headers, "Accept": "text/event-stream"}, timeout=60) as response,
    ):
        waiting = threads.submit(follow_by_waiting, client, project_id)
        assert response.headers["Content-Type"].startswith("text/event-stream")
        for status in events_of(response.iter_lines()):
            told.append(status)
            let_go_on(go_on, (status["segment"] or 0) + 1)  # The next segment comes when this one was told.
        waiting.result()

    assert told[-1]["status"] == "finished" and told[-1]["video_url"]
    progress = [status["progress"] for status in told]
    assert progress == sorted(progress) and len(set(progress)) > 3
    assert told[-1] == client.get(f"/projects/{project_id}/status").json()

    stranger = httpx.get(url, headers={"X-API-Key": charlie.plain_key, "Accept": "text/event-stream"})
    assert (stranger.status_code, stranger.json()["code"]) == (404, "not_found")
    assert httpx.get(url).status_code == 401

    # An answer that waits: at the end there is nothing to wait for.
    finished = client.get(f"/projects/{project_id}/status", headers={"Prefer": "wait=20"}, timeout=5)
    assert (finished.json()["status"], finished.headers["Preference-Applied"]) == ("finished", "wait=20")
    assert httpx.get(f"{client.base_url}projects/{project_id}/status", headers={"Prefer": "wait=5"}).status_code == 401


def open_project(post, wait_for, go_on: Path) -> str:
    """One that has rendered a segment and waits until it is let go on."""
    let_go_on(go_on, 1)
    project_id = post("held", prompt=str(go_on))
    wait_for(project_id, lambda status: (status["segment"] or 0) >= 1)
    return project_id


def test_streams_and_answers_that_wait_end_with_their_key(
    service, client, post, wait_for, alice, charlie, site, tmp_path: Path
) -> None:
    project_id = open_project(post, wait_for, tmp_path / "go-on")
    source, _ = site
    body = {"title": "x", "image_url": f"{source}/picture.png", "audio_url": f"{source}/voice.wav"}
    of_stranger = client.post("/projects", json=body, headers={"X-API-Key": charlie.plain_key}).json()["id"]
    ApiKey.objects.update(last_used_at=None)
    soon = timezone.now()
    endings = {
        "revoked": {"revoked_at": soon},
        "expired": {"expires_at": soon},
        "without the scope": {"scopes": ["usage:read"]},
        "from another network": {"allowed_ips": ["192.0.2.0/24"]},
    }
    ours = [keys.issue(alice.tenant, name=name, allowed_ips=["127.0.0.0/8"]) for name in endings]

    projects = f"{service.base_url}/api/v1/projects"
    callers = [({"X-API-Key": plain}, f"{projects}/{project_id}") for _, plain in ours]
    callers.append(({"X-API-Key": charlie.plain_key}, f"{projects}/{of_stranger}"))
    with ExitStack() as opened:
        threads = opened.enter_context(ThreadPoolExecutor())
        answers = [
            threads.submit(httpx.get, f"{url}/status", headers={**key, "Prefer": "wait=25"}, timeout=60)
            for key, url in callers
        ]
        admitted = ApiKey.objects.filter(
            pk__in=[charlie.key.pk, *(key.pk for key, _ in ours)], last_used_at__isnull=False
        )
        until(lambda: admitted.count() == len(callers))
        streams = []
        for key, url in callers:
            follows = {**key, "Accept": "text/event-stream"}
            response = opened.enter_context(httpx.stream("GET", f"{url}/events", headers=follows, timeout=60))
            streams.append(events_of(response.iter_lines()))
        assert [next(stream)["state"] for stream in streams] == [*["running"] * 4, "queued"]
        for (key, _), changes in zip(ours, endings.values(), strict=True):
            ApiKey.objects.filter(pk=key.pk).update(**changes)
        Tenant.objects.filter(pk=charlie.tenant.pk).update(suspended_at=soon)
        assert [list(stream) for stream in streams] == [[]] * 5  # Nothing had changed.

        # Now both change, and so the answers come.
        client.post(f"/projects/{project_id}/cancel").raise_for_status()
        codes = [(answer.result().status_code, answer.result().json()["code"]) for answer in answers]
    assert codes == [
        (401, "key_expired"), (401, "key_expired"), (403, "insufficient_scope"), (403, "ip_not_allowed"),
        (403, "tenant_suspended"),
    ]  # fmt: skip


def follow_by_waiting(client: httpx.Client, project_id: str) -> None:
    etag, told = "", []
    while not told or told[-1]["status"] != "finished":
        headers = {"Prefer": "respond-async, wait=20", **({"If-None-Match": etag} if etag else {})}
        response = client.get(f"/projects/{project_id}/status", headers=headers)
        assert response.status_code == 200, response.status_code  # and not 304: there was news
        assert response.headers["Preference-Applied"] == "wait=20"
        etag = response.headers["ETag"]
        told.append(response.json())
    assert len({(status["state"], status["phase"], status["progress"]) for status in told}) == len(told)


# 500: as many as one node is to hold open.
@pytest.mark.parametrize("streams", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_many_streams_leave_the_others_their_service(
    service, client, post, wait_for, tmp_path: Path, streams: int
) -> None:
    project_id = open_project(post, wait_for, tmp_path / "go-on")

    ends = asyncio.run(_with_open_streams(service.base_url, client, project_id, streams))

    assert len(ends) == streams
    assert {(status["state"], status["error_code"]) for status in ends} == {("canceled", "canceled")}


async def _with_open_streams(base_url: str, client: httpx.Client, project_id: str, number: int) -> list[dict]:
    address = urlsplit(base_url)
    request = (
        f"GET /api/v1/projects/{project_id}/events HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"X-API-Key: {client.headers['X-API-Key']}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    )
    opened = asyncio.Semaphore(50)

    async def open_one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with opened:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request.encode())
            while not (line := await reader.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
            return reader, writer

    streams = await asyncio.gather(*(open_one() for _ in range(number)))

    def others() -> None:
        for _ in range(50):
            assert client.get(f"/projects/{project_id}/status", timeout=10).json()["state"] == "running"
        assert client.get("/projects", timeout=10).status_code == 200
        client.post(f"/projects/{project_id}/cancel", timeout=10).raise_for_status()

    await asyncio.to_thread(others)
    ends = []
    for reader, writer in streams:
        rest = (await asyncio.wait_for(reader.read(), 60)).decode()
        told = [line for line in rest.splitlines() if line.startswith("data: ")]
        ends.append(json.loads(told[-1].removeprefix("data: ")))
        writer.close()
    return ends
