"""Large uploads through the real web server: its memory, and what is left of one that breaks off."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from creatorify.demo.supervisor import Supervisor
from tests.stack import until, web_worker

MEGABYTE = 2**20
SIZE = 150 * MEGABYTE
ALLOWED_GROWTH = 50 * MEGABYTE


def blocks(size: int = SIZE) -> Iterator[bytes]:
    block = os.urandom(MEGABYTE)
    for _ in range(size // MEGABYTE):
        yield block


class MostMemory:
    """The most resident memory that a process has while the context lasts."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.most = self._process.memory_info().rss

    def __enter__(self) -> "MostMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, self._process.memory_info().rss)


def announce(client: httpx.Client, size: int, sha256: str) -> dict:
    body = {"filename": "film.mp4", "content_type": "video/mp4", "bytes": size, "sha256": sha256}
    return client.post("/uploads", json=body).raise_for_status().json()


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_150_megabytes_pass_through_in_little_memory(service, client, service_folder) -> None:
    content = list(blocks())
    digest = hashlib.sha256()
    for block in content:
        digest.update(block)
    upload = announce(client, SIZE, digest.hexdigest())
    with MostMemory(web_worker(service)) as memory:
        answer = httpx.put(upload["url"], content=iter(content), headers={"Content-Length": str(SIZE)}, timeout=120)

    assert answer.status_code == 200, answer.text
    assert memory.most - memory.before < ALLOWED_GROWTH
    stored = files_of(service_folder / "media")
    assert [path.stat().st_size for path in stored] == [SIZE]
    deadline = time.monotonic() + 60
    while (asset := client.get(f"/assets/{upload['upload_id']}").json())["state"] == "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert asset["error"]["code"] == "media_invalid"  # noise, and found out on the queue, not in the web process
    until(lambda: files_of(service_folder / "media") == [])


def test_what_breaks_off_or_is_too_large_leaves_nothing(service, client, service_folder) -> None:
    upload = announce(client, SIZE, "0" * 64)
    address = urlsplit(upload["url"])
    head = f"PUT {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {SIZE}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode())
        for block in blocks(SIZE // 3):
            connection.sendall(block)

    until(lambda: files_of(service_folder / "media") == [])
    roots = tuple(str(service_folder / name) for name in ("media", "tmp"))
    until(lambda: [file for file in web_worker(service).open_files() if file.path.startswith(roots)] == [])
    assert client.get(f"/uploads/{upload['upload_id']}").json()["asset"]["state"] == "waiting"
    refuse_more_than_a_request_may_have(service)


def refuse_more_than_a_request_may_have(service: Supervisor) -> None:
    """And does not read it."""
    size = 600 * MEGABYTE
    for path, announced in (("/api/v1/projects", True), ("/api/v1/projects", False), ("/admin/login/", True)):
        headers = {"Content-Length": str(size)} if announced else {"Transfer-Encoding": "chunked"}
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            for block in blocks(size):
                sent += len(block)
                yield block

        try:
            answer = httpx.post(service.base_url + path, content=endless(), headers=headers, timeout=60)
            assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        except httpx.TransportError:
            pass  # The connection was closed while it was still sending; then it may not get to read the answer.
        assert sent < 40 * MEGABYTE
