"""Everything at once that one machine can send to make a web process slow, full or silent, in a process of its own.

`python -m tests.siege.attackers URL KEY SECONDS`, with the key of a tenant that attacks, too. It ends by itself.
"""

import asyncio
import collections
import contextlib
import json
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx

HALF_SENT = 1050  # connections, as many as a process with 1024 descriptors cannot hold
DRIPPING = 200  # connections whose headers come a byte at a time
SLOW, ENDLESS = 100, 10  # bodies
READERS, LOGINS, COMPLETES = 16, 4, 10  # loops
UPLOAD = "PUT /api/v1/uploads/garbage/content HTTP/1.1\r\nHost: localhost\r\n"

counts: collections.Counter[str] = collections.Counter()


class Siege:
    def __init__(self, url: str, key: str, seconds: float) -> None:
        self.url, self.key = url, key
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port
        self.end = time.monotonic() + seconds

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits) as self.client:
            attacks: list[tuple[int, Callable[[], Awaitable[None]]]] = [
                (HALF_SENT, self.half_sent_body),
                (DRIPPING, self.dripping_headers),
                (SLOW, self.slow_body),
                (ENDLESS, self.endless_body),
                (READERS, self.read_schema),
                (LOGINS, self.guess_passwords),
                (COMPLETES, self.complete_uploads),
            ]
            await asyncio.gather(*(self._repeat(attack) for number, attack in attacks for _ in range(number)))

    async def _repeat(self, attack: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(random.random() * 3)
        while time.monotonic() < self.end:
            with contextlib.suppress(OSError, httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(max(self.end - time.monotonic(), 0.1)):
                    await attack()
            counts[attack.__name__] += 1
            await asyncio.sleep(0.05)  # Refused at once, it comes again, but does not spin.

    async def half_sent_body(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(f"{UPLOAD}Content-Length: 1000\r\n\r\na".encode())
            await reader.read()  # Until the server ends it.
            await asyncio.sleep(1)

    async def dripping_headers(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(UPLOAD.encode())
            while not reader.at_eof():
                writer.write(b"X-A: b\r\n")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(100), 1)

    async def slow_body(self) -> None:
        async with self._connection() as (reader, writer):
            post = UPLOAD.replace("PUT /api/v1/uploads/garbage/content", "POST /api/v1/projects")
            writer.write(f"{random.choice([UPLOAD, post])}Content-Length: 900000\r\n\r\n".encode())
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 1)

    async def endless_body(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(f"{UPLOAD}Transfer-Encoding: chunked\r\n\r\n".encode())
            while not reader.at_eof():
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()

    async def read_schema(self) -> None:
        await self.client.get("/api/schema")

    async def guess_passwords(self) -> None:
        page = await self.client.get("/admin/login/")
        form = {"username": "admin", "password": str(random.random()), "csrfmiddlewaretoken": page.cookies["csrftoken"]}
        await self.client.post("/admin/login/", data=form, headers={"Referer": self.url})

    async def complete_uploads(self) -> None:
        headers = {"X-API-Key": self.key}
        announcement = {"filename": "a.jpg", "content_type": "image/jpeg", "bytes": 10}
        answer = await self.client.post("/api/v1/uploads", json=announcement, headers=headers)
        if answer.status_code == 201:
            await self.client.post(f"/api/v1/uploads/{answer.json()['upload_id']}/complete", headers=headers)

    @contextlib.asynccontextmanager
    async def _connection(self):  # type: ignore[no-untyped-def]
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    asyncio.run(Siege(sys.argv[1], sys.argv[2], float(sys.argv[3])).run())
    print(json.dumps(counts))
