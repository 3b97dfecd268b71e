"""Progress as it happens, through the real web server: server-sent events, answers that wait, and many of both."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from django.utils import timezone

from accounts.api_keys import keys
from accounts.models import ApiKey, Tenant
from tests.render.conftest import write_voice


def events_of(response: httpx.Response) -> list[dict]:
    """Until the server ends the stream."""
    lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_progress_is_told_as_it_happens(service, client, post, wait_for, charlie) -> None:
    project_id = post("slow")
    url = client.get(f"/projects/{project_id}").json()["urls"]["events"]

    with httpx.stream("GET", url, headers={**client.headers, "Accept": "text/event-stream"}, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        told = events_of(response)

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

    follow_by_waiting(client, post("slow"), wait_for)


def open_project(client: httpx.Client, post, wait_for, site) -> str:
    """One that renders for long."""
    base_url, folder = site
    write_voice(folder / "long-voice.wav", 120)
    project_id = post("slow", audio_url=f"{base_url}/long-voice.wav")
    wait_for(project_id, lambda status: status["state"] == "running")
    return project_id


def test_a_stream_ends_with_its_key(service, client, post, wait_for, site, alice, charlie) -> None:
    project_id = open_project(client, post, wait_for, site)
    url = f"{service.base_url}/api/v1/projects/{project_id}/events"
    soon = timezone.now()
    endings = {
        "revoked": lambda key: ApiKey.objects.filter(pk=key.pk).update(revoked_at=soon),
        "expired": lambda key: ApiKey.objects.filter(pk=key.pk).update(expires_at=soon),
        "without the scope": lambda key: ApiKey.objects.filter(pk=key.pk).update(scopes=["usage:read"]),
        "from another network": lambda key: ApiKey.objects.filter(pk=key.pk).update(allowed_ips=["192.0.2.0/24"]),
        "suspended": lambda key: Tenant.objects.filter(pk=key.tenant_id).update(suspended_at=soon),
    }
    for end in endings.values():
        key, plain = keys.issue(alice.tenant, name="stream", allowed_ips=["127.0.0.0/8"])
        headers = {"X-API-Key": plain, "Accept": "text/event-stream"}
        with httpx.stream("GET", url, headers=headers, timeout=60) as response:
            lines = response.iter_lines()
            assert any(line.startswith("data: ") for line in lines)
            end(key)
            told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert all(status["state"] == "running" for status in told)
        assert httpx.get(url, headers=headers).status_code in (401, 403)
    Tenant.objects.update(suspended_at=None)
    client.post(f"/projects/{project_id}/cancel").raise_for_status()


def test_an_answer_that_waits_is_not_given_to_a_key_that_has_ended_meanwhile(
    service, client, post, wait_for, site, alice, charlie
) -> None:
    running = open_project(client, post, wait_for, site)
    queued = post("slow")  # Nothing changes: no worker is free.
    key, plain = keys.issue(alice.tenant, name="waits")
    url = f"{service.base_url}/api/v1/projects/{queued}/status"
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(httpx.get, url, headers={"X-API-Key": plain, "Prefer": "wait=3"}, timeout=60)
        time.sleep(1)
        keys.revoke(key)
        answer = waiting.result()

    assert (answer.status_code, answer.json()["code"]) == (401, "key_expired")
    for project_id in (queued, running):
        client.post(f"/projects/{project_id}/cancel").raise_for_status()


def follow_by_waiting(client: httpx.Client, project_id: str, wait_for) -> None:
    wait_for(project_id, lambda status: status["state"] == "running")
    etag, told = "", []
    while not told or told[-1]["status"] != "finished":
        headers = {"Prefer": "respond-async, wait=20", **({"If-None-Match": etag} if etag else {})}
        response = client.get(f"/projects/{project_id}/status", headers=headers)
        assert response.status_code == 200, response.status_code  # and not 304: there was news
        assert response.headers["Preference-Applied"] == "wait=20"
        etag = response.headers["ETag"]
        told.append(response.json())
    assert len({(status["phase"], status["progress"]) for status in told}) == len(told)


# 500: as many as one node is to hold open.
@pytest.mark.parametrize("streams", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_many_streams_leave_the_others_their_service(service, client, post, wait_for, site, streams: int) -> None:
    project_id = open_project(client, post, wait_for, site)

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
