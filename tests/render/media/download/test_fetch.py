import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from accounts.errors import ServiceError
from render.media.download.fetch import FetchedFile, fetch
from render.media.download.retrying import FetchLimits

CONTENT = bytes(range(256)) * 64
LIMITS = FetchLimits(
    max_bytes=100_000, total_seconds=5, connect_seconds=1, read_seconds=1, tries=2, backoff_seconds=0.01
)
REDIRECTS = {
    "/to-file": "/file",
    "/to-private": "http://10.0.0.1/secret",
    "/to-asked": "http://asked.internal/",
    "/to-loopback": "http://127.0.0.1:1/secret",
    "/to-disk": "file:///etc/passwd",
    "/to-ftp": "ftp://media.example/file",
    "/to-password": "http://user:secret@media.example/",
    "/loop": "/loop",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in REDIRECTS:
            self.answer(302, {"Location": REDIRECTS[path], "Content-Length": "0"})
        elif path == "/file":
            self.answer(200, {"Content-Type": "Image/PNG; q=1", "Content-Length": str(len(CONTENT))}, CONTENT)
        elif path == "/host":
            self.answer(200, {}, self.headers["Host"].encode())
        elif path == "/announced":
            self.answer(200, {"Content-Length": "100001"})
        elif path == "/unannounced":
            self.answer(200, {}, bytes(100_001))
        elif path == "/bomb":
            self.answer(200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(5_000_000)))
        elif path == "/broken":
            self.answer(200, {"Content-Length": "1000"}, b"too little")
        elif path == "/drip":
            self.answer(200, {})
            self.drip(b"x" * 1000)
        elif path == "/drip-headers":
            self.drip(b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 1000)
        else:
            self.answer(404, {}, b"secret page")

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, content: bytes) -> None:
        try:
            for number in range(len(content)):
                self.wfile.write(content[number : number + 1])
                time.sleep(0.05)
        except OSError:
            pass  # the client went away, as it should

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"media.example:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The DNS: what each name resolves to."""
    names = {"media.example": ["127.0.0.1"]}
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        return [answer for address in names.get(host, [host]) for answer in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


@pytest.fixture
def get(names: dict[str, list[str]], server: str, tmp_path: Path) -> Callable[..., FetchedFile]:
    def get(path: str, *, limits: FetchLimits = LIMITS, allow_private: bool = True) -> FetchedFile:
        url = path if "://" in path else f"http://{server}{path}"
        return fetch(url, tmp_path / "file", limits=limits, allow_private=allow_private, param="image_url")

    return get


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """The server of these tests stands for one in the internet; only the name media.example leads to it."""
    names["media.example"] = ["127.0.0.2"]
    monkeypatch.setattr("render.media.download.ssrf_guard.is_public", lambda address: address == "127.0.0.2")
    real = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda address, *args, **kwargs: real(("127.0.0.1", address[1]), *args, **kwargs)
    )


def test_it_saves_the_file(get: Callable[..., FetchedFile], tmp_path: Path) -> None:
    fetched = get("/file?signature=abc")

    assert fetched == FetchedFile(
        path=tmp_path / "file",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bytes=len(CONTENT),
        content_type="image/png",
    )
    assert fetched.path.read_bytes() == CONTENT


def test_it_follows_a_redirect(get: Callable[..., FetchedFile]) -> None:
    assert get("/to-file").path.read_bytes() == CONTENT


def test_it_sends_the_name_although_it_connects_to_the_address(get: Callable[..., FetchedFile], server: str) -> None:
    assert get("/host").path.read_text() == server


def test_it_uses_no_proxy_from_the_environment(
    get: Callable[..., FetchedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert get("/file").bytes == len(CONTENT)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/missing", "download_failed"),
        ("/broken", "download_failed"),
        ("/bomb", "download_failed"),
        ("/loop", "download_failed"),
        ("http://media.example:1/", "download_failed"),
        ("/announced", "media_too_large"),
        ("/unannounced", "media_too_large"),
        ("/to-disk", "redirect_not_allowed"),
        ("/to-ftp", "redirect_not_allowed"),
        ("/to-password", "redirect_not_allowed"),
        ("file:///etc/passwd", "url_not_allowed"),
        ("ftp://media.example/", "url_not_allowed"),
        ("http://user:secret@media.example/", "url_not_allowed"),
        ("http://", "url_not_allowed"),
        ("http://media.example:99999/", "url_not_allowed"),
        ("http://[::1/", "url_not_allowed"),
        ("data://text", "url_not_allowed"),
    ],
)
def test_it_refuses(path: str, code: str, get: Callable[..., FetchedFile], tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        get(path)

    assert (caught.value.code, caught.value.param) == (code, "image_url")
    assert list(tmp_path.iterdir()) == []


def test_it_tells_the_status_of_the_server(get: Callable[..., FetchedFile]) -> None:
    with pytest.raises(ServiceError, match=r"^The server answered 404 \(Not Found\)\.$"):
        get("/missing?signature=abc")


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_it_ends_a_download_that_trickles_in(path: str, get: Callable[..., FetchedFile], tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        get(path, limits=FetchLimits(max_bytes=100_000, total_seconds=0.2))

    assert caught.value.code == "download_timeout"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
    ],
)
def test_it_refuses_private_addresses(url: str, get: Callable[..., FetchedFile]) -> None:
    with pytest.raises(ServiceError) as caught:
        get(url, allow_private=False)

    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:10.0.0.1"]])
def test_it_refuses_a_public_name_with_a_private_address(
    addresses: list[str], get: Callable[..., FetchedFile], names: dict[str, list[str]]
) -> None:
    names["media.example"] = addresses

    with pytest.raises(ServiceError) as caught:
        get("/file", allow_private=False)

    assert caught.value.code == "url_not_allowed"
    assert "10.0.0.1" not in caught.value.detail


@pytest.mark.parametrize("failure", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_NODATA])
@pytest.mark.parametrize("path", ["http://asked.internal/file", "/to-asked"])
def test_a_name_inside_and_one_that_is_nowhere_look_the_same(
    path: str,
    failure: int,
    get: Callable[..., FetchedFile],
    names: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if path == "/to-asked":
        request.getfixturevalue("loopback_is_public")
    told = []
    for addresses in (["10.0.0.1"], ["fd00::1"], ["93.184.216.34", "10.0.0.1"], None, []):
        with monkeypatch.context() as resolver:
            real = socket.getaddrinfo

            def resolve(host: str, *args: Any, addresses: Any = addresses, real: Any = real, **kwargs: Any) -> Any:
                if host != "asked.internal":
                    return real(host, *args, **kwargs)
                if addresses is None:
                    raise socket.gaierror(failure, "unknown")
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]

            resolver.setattr(socket, "getaddrinfo", resolve)
            with pytest.raises(ServiceError) as caught:
                get(path, allow_private=False)
            told.append((caught.value.code, caught.value.detail, caught.value.param))

    assert len(set(told)) == 1
    assert told[0][0] == ("redirect_not_allowed" if path == "/to-asked" else "url_not_allowed")


def test_who_may_reach_the_private_network_is_told_of_a_name_that_is_nowhere(get: Callable[..., FetchedFile]) -> None:
    with pytest.raises(ServiceError) as caught:
        get("http://asked.internal/file", allow_private=True)

    assert caught.value.code == "download_failed"


@pytest.mark.usefixtures("loopback_is_public")
def test_it_asks_the_resolver_once(
    get: Callable[..., FetchedFile], names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, asked = socket.getaddrinfo, []

    def rebind(host: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        answer = resolve(host, *args, **kwargs)
        names["media.example"] = ["10.0.0.1"]
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", rebind)

    assert get("/file", allow_private=False).bytes == len(CONTENT)
    assert asked.count("media.example") == 1


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize("path", ["/to-private", "/to-loopback"])
def test_it_refuses_a_redirect_into_the_private_network(path: str, get: Callable[..., FetchedFile]) -> None:
    with pytest.raises(ServiceError) as caught:
        get(path, allow_private=False)

    assert caught.value.code == "redirect_not_allowed"
    assert caught.value.detail == "media.example redirects to an address that is not allowed."


def test_it_shows_the_name_to_a_tls_server(names: dict[str, list[str]], tmp_path: Path) -> None:
    hello = []

    def read_hello(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            hello.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=read_hello, args=(listener,))
        thread.start()
        with pytest.raises(ServiceError) as caught:
            url = f"https://media.example:{listener.getsockname()[1]}/"
            fetch(url, tmp_path / "file", limits=replace(LIMITS, tries=1), allow_private=True, param="image_url")
        thread.join()

    assert caught.value.code == "download_failed"
    assert b"media.example" in hello[0]
