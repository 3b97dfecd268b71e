"""Django's synchronous handler under ASGI: what it is asked, what it answers, and who holds its threads."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse, StreamingHttpResponse

from creatorify.asgi_middleware.django_requests import DjangoRequests

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "http_version": "1.1",
    "headers": [],
    "client": ("192.0.2.7", 4711),
    "server": ("127.0.0.1", 8000),
    "scheme": "http",
}


def start(response: HttpResponse | StreamingHttpResponse, start_response: Any) -> Any:
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return response


def serve(view: Any, *, body: list[bytes] = [b""], threads: int = 1, **scope: Any) -> list[dict[str, Any]]:  # noqa: B006
    """All that is sent as the answer to one request."""
    sent: list[dict[str, Any]] = []
    pieces = list(body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    application = DjangoRequests(lambda environ, start_response: start(view(environ), start_response), threads=threads)
    asyncio.run(asyncio.wait_for(application({**SCOPE, **scope}, receive, send), 30))
    return sent


def request_of(**scope: Any) -> WSGIRequest:
    """What Django makes of a request."""
    requests = []

    def view(environ: dict[str, Any]) -> HttpResponse:
        request = WSGIRequest(environ)
        request.body  # noqa: B018  # Reads it.
        requests.append(request)
        return HttpResponse()

    serve(view, **scope)
    return requests[0]


def test_a_request_reaches_django_as_it_was_sent() -> None:
    request = request_of(
        method="POST",
        path="/films/é",
        raw_path=b"/films/%C3%A9",
        query_string=b"q=%20x",
        headers=[(b"host", b"localhost:8000"), (b"content-type", b"application/json"), (b"x-api-key", b"k")],
        body=[b'{"a"', b": 1}"],
    )

    assert (request.method, request.path, request.GET["q"]) == ("POST", "/films/é", " x")
    assert (request.content_type, request.body) == ("application/json", b'{"a": 1}')
    assert (request.headers["X-API-Key"], request.get_host()) == ("k", "localhost:8000")
    assert request.META["REMOTE_ADDR"] == "192.0.2.7"


def test_a_chunked_body_has_a_length() -> None:
    request = request_of(method="POST", headers=[(b"transfer-encoding", b"chunked")], body=[b"abc", b"def"])

    assert (request.body, request.META["CONTENT_LENGTH"]) == (b"abcdef", "6")
    assert "Transfer-Encoding" not in request.headers


def test_repeated_headers_are_joined_and_bytes_of_a_path_are_kept() -> None:
    request = request_of(
        path="/\ufffd",
        raw_path=b"/%ff",
        headers=[(b"accept", b"a"), (b"accept", b"b"), (b"cookie", b"c=1"), (b"cookie", b"d=2")],
    )

    assert (request.headers["Accept"], request.COOKIES) == ("a,b", {"c": "1", "d": "2"})
    assert request.path == "/%FF"  # As Django writes what is no UTF-8.


def test_an_answer_is_sent_whole() -> None:
    [start, body] = serve(lambda environ: HttpResponse(b"done", status=201, headers={"Location": "/x"}))

    assert (start["status"], dict(start["headers"])[b"location"]) == (201, b"/x")
    assert body["body"] == b"done" and not body.get("more_body")


def test_what_django_cannot_even_take_is_an_error_in_our_own_form(caplog) -> None:
    def fail(environ: dict[str, Any]) -> HttpResponse:
        raise LookupError("no such codec")

    [start, body] = serve(fail)

    assert start["status"] == 500
    assert json.loads(body["body"])["code"] == "internal"
    assert b"request-id" in dict(start["headers"])
    assert "no such codec" in caplog.text


@pytest.mark.parametrize("response", [HttpResponse(b"body"), StreamingHttpResponse([b"body"])])
def test_head_gets_no_body(response) -> None:
    messages = serve(lambda environ: response, method="HEAD")

    assert [message.get("body", b"") for message in messages] == [b"", b""]
    assert response.closed


def test_no_connection_to_the_database_waits_for_the_client(monkeypatch) -> None:
    """What a piece was read with goes back to the pool before the piece is sent."""
    happened: list[str] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            happened.append("read")
            yield b"x" * 300_000

    monkeypatch.setattr(
        "creatorify.asgi_middleware.django_requests.close_old_connections", lambda: happened.append("closed")
    )
    serve(lambda environ: StreamingHttpResponse(pieces()))

    assert happened == ["closed", *["read", "closed"] * 3, "closed"]


def test_a_streamed_answer_is_sent_piece_by_piece_and_closed() -> None:
    pieces = [b"x" * 200_000, b"y" * 200_000, b"z"]
    response = StreamingHttpResponse(iter(pieces))

    messages = serve(lambda environ: response)

    assert b"".join(message.get("body", b"") for message in messages) == b"".join(pieces)
    assert len(messages) > 3
    assert response.closed


def test_clients_that_send_or_read_slowly_hold_no_thread() -> None:
    """With one thread: a client that never ends its body and one that never reads leave it to the third."""

    async def ask(view_body: str, receive: Any, send: Any) -> None:
        await application({**SCOPE, "path": view_body}, receive, send)

    def handler(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/stream":
            return start(StreamingHttpResponse(endless()), start_response)
        return start(HttpResponse(b"quick"), start_response)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 300_000

    async def never() -> Any:
        await asyncio.Event().wait()

    async def whole() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def unread(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    async def keep(message: dict[str, Any]) -> None:
        answer.append(message)

    async def scene() -> None:
        slow = [asyncio.create_task(ask("/send", never, keep)), asyncio.create_task(ask("/stream", whole, unread))]
        await blocked.wait()
        await ask("/quick", whole, keep)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    application = DjangoRequests(handler, threads=1)
    answer: list[dict[str, Any]] = []
    blocked = asyncio.Event()
    asyncio.run(asyncio.wait_for(scene(), 30))

    assert answer[-1]["body"] == b"quick"


def test_no_more_requests_are_worked_on_at_once_than_there_are_threads() -> None:
    at_once, most = 0, 0
    lock = threading.Lock()
    full = threading.Barrier(3)  # Breaks the test, by its limit, if fewer than three run together.

    def handler(environ: dict[str, Any], start_response: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        full.wait(20)
        with lock:
            at_once -= 1
        return start(HttpResponse(), start_response)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    async def scene() -> None:
        await asyncio.gather(*(application({**SCOPE}, receive, send) for _ in range(9)))

    application = DjangoRequests(handler, threads=3)
    asyncio.run(asyncio.wait_for(scene(), 60))

    assert most == 3


def test_a_body_that_does_not_come_to_its_end_is_malformed_and_not_given_to_django() -> None:
    """The server says the same of a client that has left and of chunks that are none."""
    asked: list[Any] = []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    def handler(environ: Any, start_response: Any) -> list[bytes]:
        asked.append(environ)
        return []

    asyncio.run(DjangoRequests(handler, threads=1)({**SCOPE}, receive, send))

    assert (asked, sent[0]["status"], json.loads(sent[1]["body"])["code"]) == ([], 400, "malformed")
