"""Whatever answers at an upload's address, a page of another site can read it."""

import asyncio

import pytest

from creatorify.asgi_middleware.client_limits import ClientLimits
from creatorify.asgi_middleware.cross_origin import CrossOriginUploads
from creatorify.asgi_middleware.upload_receiver import UploadReceiver


def ask(path: str, *, method: str = "PUT", headers: list[tuple[bytes, bytes]] | None = None) -> dict:
    async def passed_on(scope, receive, send) -> None:
        named = [(b"access-control-allow-origin", b"*"), (b"x-of-django", b"1")]
        await send({"type": "http.response.start", "status": 299, "headers": named})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict:
        return {"type": "http.request", "body": b"x", "more_body": False}

    sent = []

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers or []}
    asyncio.run(CrossOriginUploads(ClientLimits(UploadReceiver(passed_on)))(scope, receive, send))
    return sent[0]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", [], 404),  # a forged address
        ("PUT", [(b"content-type", b"x" * 2000)], 400),
        ("OPTIONS", [(b"access-control-request-method", b"PUT")], 299),  # Django's view answers
        ("GET", [], 299),
    ],
)
def test_each_answer_has_the_headers_once(method, headers, status) -> None:
    answer = ask("/api/v1/uploads/forged/content", method=method, headers=headers)

    assert answer["status"] == status
    assert [value for name, value in answer["headers"] if name == b"access-control-allow-origin"] == [b"*"]
    assert (b"access-control-allow-methods", b"PUT, OPTIONS") in answer["headers"]


def test_no_other_address_has_them() -> None:
    names = [name for name, _ in ask("/api/v1/uploads", method="POST")["headers"]]

    assert b"access-control-allow-methods" not in names
