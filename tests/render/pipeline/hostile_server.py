"""A customer's web server at its worst: good files, hostile ones, and every way to break off a transfer."""

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

ADDRESS = "127.0.0.77"  # The one address of loopback that these tests take for one of the internet.
PATIENCE_SECONDS = 5.0  # longer than any client waits for what never ends
BEHAVIOURS = [
    "drip", "drip-head", "silent", "silent-body", "reset", "reset-body", "too-little", "announced", "unannounced",
    "endless", "endless-chunks", "bad-chunks", "gzip", "brotli", "deflate-twice", "no-content", "not-modified", "error",
    "forbidden", "gone", "long-head", "many-heads", "no-http", "old-http", "bad-status", "two-lengths", "bad-length",
    "negative-length", "early-hints",
]  # fmt: skip
NEVER_ENDING = ["drip", "drip-head", "silent", "silent-body"]  # Only the time limit ends such a download.
REDIRECTS = {
    "to-private": "http://10.0.0.1/x",
    "to-loopback": "http://127.0.0.1/x",
    "to-mapped": "http://[::ffff:127.0.0.1]/x",
    "to-nat64": "http://[64:ff9b::7f00:1]/x",
    "to-decimal": "http://2130706433/x",
    "to-metadata": "http://169.254.169.254/",
    "to-name": "http://rebinding.example/x",
    "to-file": "file:///etc/passwd",
    "to-ftp": "ftp://media.example/x",
    "to-gopher": "gopher://127.0.0.1:6379/_INFO",
    "to-data": "data:image/png;base64,AAAA",
    "to-script": "javascript:alert(1)",
    "to-password": "http://user:secret@media.example/",
    "to-relative-private": "//10.0.0.1/x",
    "to-nowhere": "http://",
    "to-bad-port": "http://media.example:99999/",
    "loop": "/redirect/loop",
    "to-missing": "/files/none",
}


@contextmanager
def running(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serves `/files/NAME`, `/redirect/NAME` and `/behave/NAME`. Yields its base URL."""

    class Handler(_Handler):
        content = files

    with ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://media.example:{server.server_port}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    content: Mapping[str, bytes]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/", 2)
        with suppress(OSError):  # The client goes away, as it should.
            if kind == "redirect":
                self._answer(302, {"Location": REDIRECTS[name], "Content-Length": "0"})
            elif kind == "behave":
                self._behave(name)
            elif name in self.content:
                self._answer(200, {"Content-Length": str(len(self.content[name]))}, self.content[name])
            else:
                self._answer(404, {"Content-Length": "0"})

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _raw(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()

    def _forever(self, block: bytes, pause: float) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            self._raw(block)
            time.sleep(pause)

    def _reset(self) -> None:
        # Linger of no time: the end of the connection is a RST.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _behave(self, name: str) -> None:  # noqa: C901
        good = self.content["good.png"]
        match name:
            case "drip":
                self._answer(200, {})
                self._forever(b"x", 0.05)
            case "drip-head":
                self._raw(b"HTTP/1.1 200 OK\r\nX-Long: ")
                self._forever(b"x", 0.05)
            case "silent":
                time.sleep(PATIENCE_SECONDS)
            case "silent-body":
                self._answer(200, {"Content-Length": "1000"}, b"x")
                time.sleep(PATIENCE_SECONDS)
            case "reset":
                self._reset()
            case "reset-body":
                self._answer(200, {"Content-Length": "100000"}, good[:99])
                self.wfile.flush()
                self._reset()
            case "too-little":
                self._answer(200, {"Content-Length": str(len(good) + 1)}, good)
            case "announced":
                self._answer(200, {"Content-Length": str(2**40)})
            case "unannounced":
                self._answer(200, {}, bytes(40 * 2**20))
            case "endless":
                self._answer(200, {})
                self._forever(bytes(2**20), 0)
            case "endless-chunks":
                self._raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self._forever(b"100000\r\n" + bytes(2**20) + b"\r\n", 0)
            case "bad-chunks":
                self._raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nx\r\n0\r\n\r\n")
            case "gzip" | "brotli" | "deflate-twice":
                coding = {"gzip": "gzip", "brotli": "br", "deflate-twice": "deflate, deflate"}[name]
                self._answer(200, {"Content-Encoding": coding, "Content-Length": "4"}, b"bomb")
            case "no-content":
                self._answer(204, {})
            case "not-modified":
                self._answer(304, {})
            case "error" | "forbidden" | "gone":
                status = {"error": 500, "forbidden": 403, "gone": 410}[name]
                self._answer(status, {"Content-Length": str(len(good))}, good)
            case "long-head":
                self._raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2_000_000 + b"\r\n\r\n")
            case "many-heads":
                self._raw(b"HTTP/1.1 200 OK\r\n" + b"X-More: yes\r\n" * 200_000 + b"\r\n")
            case "no-http":
                self._raw(b"SSH-2.0-OpenSSH_9.2\r\n")
            case "old-http":
                self._raw(good)
            case "bad-status":
                self._raw(b"HTTP/1.1 abc Fine\r\n\r\n")
            case "two-lengths":
                self._raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n" + good)
            case "bad-length":
                self._raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + good)
            case "negative-length":
                self._raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + good)
            case "early-hints":
                self._raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3)
                self._answer(200, {"Content-Length": str(len(good))}, good)
