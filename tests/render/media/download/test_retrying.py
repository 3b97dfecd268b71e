"""A source server that stumbles is asked again, for a while; one that refuses is not."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from accounts.errors import ServiceError
from render.media.download.fetch import FetchedFile, fetch
from render.media.download.retrying import FetchLimits

CONTENT = bytes(range(256)) * 64
LIMITS = FetchLimits(
    max_bytes=100_000,
    total_seconds=20,
    backoff_seconds=0.01,
    longest_wait_seconds=0.05,
    most_waited_seconds=0.2,
    read_seconds=0.3,
)


class Stumbling:
    """Answers as it is told to, then with the file."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[object] = []
        self.always: object = None
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []


@pytest.fixture
def server() -> Iterator[Stumbling]:
    state = Stumbling()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            state.asked.append(dict(self.headers))
            answer = state.always or (state.answers.pop(0) if state.answers else 200)
            if answer == "silent":
                time.sleep(0.5)
            elif answer != "closed":
                self.send_response(answer if isinstance(answer, int) else 200)
                sent = CONTENT[: len(CONTENT) // 2] if answer in ("cut", "chunk") else CONTENT
                if answer == "chunk":
                    self.send_header("Transfer-Encoding", "chunked")
                    sent = b"4000\r\n" + sent
                else:
                    self.send_header("Content-Length", str(len(CONTENT)))
                for name, value in state.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_port}/file?signature=secret"
        yield state
        http.shutdown()


@pytest.fixture
def get(server, tmp_path) -> Callable[..., FetchedFile]:
    def get(limits: FetchLimits = LIMITS, **named: Any) -> FetchedFile:
        return fetch(server.url, tmp_path / "file", limits=limits, allow_private=True, param="audio_url", **named)

    return get


@pytest.mark.parametrize(
    "stumbles",
    [*([status] for status in (408, 429, 500, 502, 503, 504, 520)), ["cut"], ["chunk"], ["closed"], ["silent"]]
    + [[503, "cut", 429]],
    ids=str,
)
def test_one_that_stumbles_is_asked_again(server, get, tmp_path, stumbles) -> None:
    server.answers = list(stumbles)

    assert get().path.read_bytes() == CONTENT
    assert len(server.asked) == len(stumbles) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 416, 451, 501, 505])
def test_one_that_refuses_is_asked_once_and_nothing_will_help(server, get, status) -> None:
    server.always = status

    with pytest.raises(ServiceError) as caught:
        get()
    assert (caught.value.code, caught.value.retryable, len(server.asked)) == ("download_failed", False, 1)
    assert caught.value.detail.startswith(f"The server answered {status}")


PART = {206: " with a part of the file, although the whole file was requested"}


@pytest.mark.parametrize(
    ("status", "span"),
    [
        (206, "bytes 0-16383/999999"),
        (206, "bytes 1-16384/16385"),
        (206, "bytes 0-16383/*"),
        (206, ""),
        *((status, "") for status in (201, 202, 203, 205)),
    ],
)
def test_only_the_whole_file_is_a_success(server, get, tmp_path, status, span) -> None:
    server.always = status
    server.headers = {"Content-Range": span} if span else {}

    with pytest.raises(ServiceError) as caught:
        get()
    told = f"The server answered {status} ({HTTPStatus(status).phrase}){PART.get(status, ', not 200 with the file')}."
    assert (caught.value.code, caught.value.detail, caught.value.retryable) == ("download_failed", told, False)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_the_whole_file_is_taken(server, get) -> None:
    server.always = 206
    server.headers = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}

    assert get().path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("always", "code", "detail", "tries"),
    [
        (503, "download_failed", "The server answered 503 (Service Unavailable).", 4),
        ("cut", "download_failed", "127.0.0.1 broke off before the end of its answer.", 4),
        ("closed", "download_failed", "127.0.0.1 broke the connection off.", 4),
        ("silent", "download_timeout", "127.0.0.1 took too long to answer.", 2),
    ],
)
def test_in_the_end_it_is_given_up_with_the_true_reason(server, get, always, code, detail, tries) -> None:
    server.always = always

    with pytest.raises(ServiceError) as caught:
        get()
    assert (caught.value.code, caught.value.detail, caught.value.param) == (code, detail, "audio_url")
    assert caught.value.retryable is True
    assert len(server.asked) == tries


@pytest.mark.parametrize(
    "asked",
    ["3600", pytest.param(format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True), id="tomorrow")],
)
def test_one_that_always_asks_to_wait_holds_nobody(server, get, monkeypatch, asked) -> None:
    waited: list[float] = []
    monkeypatch.setattr("render.media.download.retrying._sleep", lambda check, seconds: waited.append(seconds))
    server.always, server.headers = 429, {"Retry-After": asked}

    with pytest.raises(ServiceError, match="The server answered 429"):
        get(FetchLimits(max_bytes=100_000, total_seconds=300))
    assert waited == [10, 10]


def test_it_waits_as_long_as_it_is_asked_to(server, get, monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("render.media.download.retrying._sleep", lambda check, seconds: waited.append(seconds))
    server.answers, server.headers = [503], {"Retry-After": "7"}

    get(FetchLimits(max_bytes=100_000, total_seconds=300))
    assert waited == [7]


def test_nobody_waits_beyond_the_whole_time(server, get, monkeypatch) -> None:
    monkeypatch.setattr("render.media.download.retrying._sleep", lambda check, seconds: pytest.fail("It waits."))
    server.always, server.headers = 503, {"Retry-After": "7"}

    with pytest.raises(ServiceError, match="The server answered 503"):
        get(FetchLimits(max_bytes=100_000, total_seconds=6))


class Lost(Exception):
    pass


def test_a_lost_lease_ends_the_wait_and_the_download(server, get, tmp_path) -> None:
    def check(calls: int) -> Callable[[], None]:
        left = [calls]

        def count() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Lost

        return count

    server.always, server.headers = 503, {"Retry-After": "60"}
    with pytest.raises(Lost):
        get(FetchLimits(max_bytes=100_000, total_seconds=300), check=check(2))
    assert len(server.asked) == 1

    server.always = None
    with pytest.raises(Lost):
        get(check=check(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("allow_private", [True, False])
def test_a_resolver_that_stumbles_is_asked_again(server, get, monkeypatch, allow_private) -> None:
    real, answers = socket.getaddrinfo, [socket.gaierror(socket.EAI_AGAIN, "Try again")]

    def resolve(*arguments: Any, **named: Any) -> Any:
        if answers:
            raise answers.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("render.media.download.ssrf_guard.is_public", lambda address: True)

    assert get(limits=replace(LIMITS)).bytes == len(CONTENT)
    assert answers == []


def test_a_name_that_is_not_known_is_looked_up_once(get, monkeypatch) -> None:
    asked = []

    def resolve(*arguments: Any, **named: Any) -> Any:
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(ServiceError, match="was not found: its name does not exist") as caught:
        get()
    assert (caught.value.retryable, len(asked)) == (False, 1)


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_is_not_taken_is_tried_again(server, get, monkeypatch, times) -> None:
    real, left = socket.create_connection, [ConnectionRefusedError(111, "refused"), TimeoutError()][-times:]

    def connect(*arguments: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(socket, "create_connection", connect)

    assert get().bytes == len(CONTENT)


def test_it_says_who_it_is(server, get, settings) -> None:
    get(user_agent="creatorify/1 (https://example.com/about)")

    assert server.asked[0]["User-Agent"] == "creatorify/1 (https://example.com/about)"
    assert settings.USER_AGENT.startswith("creatorify/")
