"""Bodies that strangers, and customers with bad intentions, send to an upload's address; through the real server."""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from creatorify.asgi_middleware.upload_receiver import AT_ONCE_OF_TENANT
from projects.models import Asset
from projects.retention import policy as retention
from projects.tasks import delete_media
from tests.render.media_makers import picture
from tests.stack import until, web_worker

MEGABYTE = 2**20
PAGE = b"<!doctype html><script>alert(document.cookie)</script>"
SENT_AT_MOST = 40 * MEGABYTE  # What the sockets and the server hold before a refusal ends the connection.


@pytest.fixture
def strangers_client(service, charlie) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": charlie.plain_key}
    with httpx.Client(base_url=f"{service.base_url}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def on_disk(service, service_folder: Path):
    """The files that there are of uploads, also those that were deleted and are still open. -> names, with sizes"""

    def look() -> dict[str, int]:
        roots = (str(service_folder / "tmp"), str(service_folder / "media"))
        found = {str(path): path.stat().st_size for root in roots for path in Path(root).rglob("*") if path.is_file()}
        for fd in Path(f"/proc/{web_worker(service).pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                target = os.readlink(fd)
                if target.startswith(roots):
                    found[target] = fd.stat().st_size
        return found

    return look


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: dict


class Sender:
    """A connection on which a PUT has begun."""

    def __init__(self, url: str, *, method: str = "PUT", length: int | None = None) -> None:
        address = urlsplit(url)
        assert address.hostname and address.port
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self._is_chunked = length is None
        kind = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        lines = [f"{method} {address.path} HTTP/1.1", f"Host: {address.netloc}", "Content-Type: image/jpeg", kind]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def send(self, block: bytes) -> None:
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(block), block) if self._is_chunked else block)

    def end(self) -> None:
        if self._is_chunked:
            self._socket.sendall(b"0\r\n\r\n")

    def send_for_ever(self) -> int:
        """Until the server has had enough; how many bytes that were."""
        sent, block = 0, os.urandom(MEGABYTE)
        with contextlib.suppress(OSError):
            while sent < 2 * SENT_AT_MOST:
                self.send(block)
                sent += len(block)
        return sent

    def answer(self) -> Answer:
        raw = b""
        while b"\r\n\r\n" not in raw:
            block = self._socket.recv(65536)
            assert block, raw
            raw += block
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += self._socket.recv(65536)
        return Answer(int(first.split()[1]), headers, json.loads(body))

    def is_closed(self) -> bool:
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._socket.close()


def announce(client: httpx.Client, num_bytes: int, *, content: bytes | None = None) -> dict:
    body = {"filename": "me.jpg", "content_type": "image/jpeg", "bytes": num_bytes}
    if content is not None:
        body["sha256"] = hashlib.sha256(content).hexdigest()
    return client.post("/uploads", json=body).raise_for_status().json()


def state(client: httpx.Client, upload: dict) -> str:
    return client.get(f"/assets/{upload['upload_id']}").json()["state"]


def test_what_is_refused_is_refused_before_a_byte_of_it_is_read(service, client, strangers_client, on_disk) -> None:
    upload = announce(client, 1000)
    good = upload["url"]
    base, token = good.removesuffix("/content").rsplit("/", 1)
    other = announce(strangers_client, 1000)["url"].removesuffix("/content").rsplit("/", 1)[1]
    payload, _, signature = token.rpartition(":")
    forged = f"{payload}:{other.rpartition(':')[2]}"  # one upload's content with another one's signature
    old = [base + "/" + text + "/content" for text in ("garbage", token[:-1], f"x{token}", forged, "a" * 3000, "%00")]

    for url in old:
        for length in (150 * MEGABYTE, None):
            sender = Sender(url, length=length)
            answer = sender.answer()  # Nothing of the body was sent.
            assert (answer.status, answer.body["code"]) == (404, "not_found"), url
            assert answer.headers["connection"] == "close"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["request-id"] == answer.body["request_id"]
            assert sender.is_closed()
            sender.close()
            endless = Sender(url, length=10**9 if length else None)
            assert endless.send_for_ever() < SENT_AT_MOST
            endless.close()
            assert on_disk() == {}

    for length in (999, 1001, 0, 10**12):
        sender = Sender(good, length=length)
        answer = sender.answer()
        assert (answer.status, answer.body["code"], answer.body["param"]) == (422, "size_mismatch", "bytes")
        assert "1000" in answer.body["detail"]
        assert sender.is_closed()
        sender.close()
    for method in ("POST", "PATCH", "DELETE", "PUT"):
        for url in (good, f"{service.base_url}/api/v1/uploads"):
            if (method, url) != ("PUT", good):
                sender = Sender(url, method=method, length=150 * MEGABYTE)
                assert sender.answer().status in (404, 405, 413), (method, url)
                sender.close()
    assert on_disk() == {}
    assert state(client, upload) == "waiting"


def test_chunked_bodies_are_counted_and_others_than_announced_leave_nothing(client, strangers_client, on_disk) -> None:
    content = picture("JPEG").ljust(600_000, b"\0")  # more than one block
    upload = announce(client, len(content), content=content)
    strangers = announce(strangers_client, len(content), content=content[::-1])

    def send(*blocks: bytes, url: str = upload["url"], length: int | None = None) -> Answer:
        sender = Sender(url, length=length)
        with contextlib.suppress(ConnectionError):  # It may be refused while it is still being sent.
            for block in blocks:
                sender.send(block)
            sender.end()
        answer = sender.answer()
        sender.close()
        return answer

    for wrong in ([content, b"x"], [content[:-1]], [b"x"], [], [content[:300_000]] * 3):
        answer = send(*wrong)
        assert (answer.status, answer.body["code"]) == (422, "size_mismatch"), len(wrong)
        until(lambda: on_disk() == {})
    other = send(content, url=strangers["url"], length=len(content))
    assert (other.status, other.body["code"]) == (422, "hash_mismatch")
    until(lambda: on_disk() == {})
    endless = Sender(upload["url"])
    assert endless.send_for_ever() < SENT_AT_MOST
    endless.close()
    until(lambda: on_disk() == {})

    right = send(content[:5], content[5:400_000], content[400_000:])
    assert (right.status, right.body) == (200, {"upload_id": upload["upload_id"], "state": "waiting"})
    until(lambda: state(client, upload) == "ready")
    assert state(strangers_client, strangers) == "waiting"


def test_who_leaves_or_is_one_of_too_many_leaves_nothing(client, strangers_client, on_disk) -> None:
    content = picture("JPEG").ljust(600_000, b"\0")
    uploads = [announce(client, len(content)) for _ in range(AT_ONCE_OF_TENANT + 1)]
    senders = [Sender(upload["url"], length=len(content)) for upload in uploads[:-1]]
    for sender in senders:
        sender.send(content[:500_000])
    until(lambda: len(on_disk()) == AT_ONCE_OF_TENANT)
    assert {Path(name).parent.name for name in on_disk()} == {"incoming"}

    refused = Sender(uploads[-1]["url"], length=len(content)).answer()
    assert (refused.status, refused.body["code"]) == (429, "too_many_uploads")
    assert str(AT_ONCE_OF_TENANT) in refused.body["detail"]
    assert int(refused.headers["retry-after"]) > 0
    strangers = announce(strangers_client, len(content))
    assert httpx.put(strangers["url"], content=content).status_code == 200

    for sender in senders:
        sender.close()
    until(lambda: len(on_disk()) <= 1)  # The stranger's.
    until(lambda: state(strangers_client, strangers) == "ready")
    assert httpx.put(uploads[0]["url"], content=content).status_code == 200
    assert {state(client, upload) for upload in uploads[1:]} == {"waiting"}


def test_what_was_checked_is_what_is_served(client, strangers_client, on_disk) -> None:
    """However often the same address is written to: meanwhile, afterwards, and after the check."""
    content = picture("PNG").ljust(600_000, b"\0")  # announced as a JPEG
    page = PAGE.ljust(len(content))
    upload, strangers = announce(client, len(content)), announce(strangers_client, len(content))
    before, after = Sender(upload["url"], length=len(page)), Sender(upload["url"], length=len(page))
    before.send(page[:400_000])
    after.send(page[:-1])
    until(lambda: len(on_disk()) == 2)

    assert httpx.put(upload["url"], content=content).status_code == 200
    before.send(page[400_000:])
    answer = before.answer()
    assert (answer.status, answer.body["code"]) == (409, "invalid_state")
    until(lambda: state(client, upload) == "ready")
    after.send(page[-1:])
    answer = after.answer()
    assert (answer.status, answer.body["code"]) == (409, "invalid_state")
    again = Sender(upload["url"], length=len(page)).answer()
    assert (again.status, again.body["code"]) == (409, "invalid_state")

    asset = client.get(f"/assets/{upload['upload_id']}").json()
    assert asset["sha256"] == hashlib.sha256(content).hexdigest()
    assert asset["content_type"] == "image/png"
    served = httpx.get(asset["url"])
    assert served.content == content
    assert (served.headers["content-type"], served.headers["x-content-type-options"]) == ("image/png", "nosniff")
    until(lambda: [Path(name).parent.name for name in on_disk()] == ["assets"])
    assert state(strangers_client, strangers) == "waiting"


def test_a_page_is_never_served(client, strangers_client, on_disk) -> None:
    upload = announce(client, len(PAGE))
    strangers = announce(strangers_client, len(PAGE))
    assert httpx.put(upload["url"], content=PAGE).status_code == 200

    until(lambda: state(client, upload) == "errored")
    until(lambda: on_disk() == {})
    assert state(strangers_client, strangers) == "waiting"


def test_what_a_killed_process_was_receiving_is_deleted_when_its_time_is_over(
    service, client, strangers_client, service_folder
) -> None:
    content = picture("JPEG").ljust(600_000, b"\0")
    upload, strangers = announce(client, len(content)), announce(strangers_client, len(content))
    incoming = service_folder / "media" / "incoming"
    sender = Sender(upload["url"], length=len(content))
    sender.send(content[:500_000])
    until(lambda: incoming.exists() and any(incoming.iterdir()))

    service.processes["web"].kill()
    service.processes["web"].wait()
    sender.close()

    [left] = incoming.iterdir()
    retention.run()
    delete_media()
    assert left.exists()  # It could be one that is still coming.
    os.utime(left, (0, 0))
    retention.run()
    delete_media()
    assert not left.exists()
    assert set(Asset.objects.values_list("state", "uploaded_at")) == {("waiting", None)}
    assert {upload["upload_id"], strangers["upload_id"]} == {str(asset.pk) for asset in Asset.objects.all()}
