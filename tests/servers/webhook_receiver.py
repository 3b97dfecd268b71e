"""A customer's receiver of webhooks, which verifies every message with the specification's own library."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver:
    """Answers as it is told to, and keeps what it could verify."""

    def __init__(self) -> None:
        self.url = ""
        self.secrets: list[str] = []
        self.answers: list[object] = []  # Of the next messages: a status, "reset" or "silent"; then 204.
        self.headers: dict[str, str] = {}  # of its answers
        self.got: list[tuple[str, dict]] = []  # message id, body
        self.rejected = 0

    def answer(self, message_id: str) -> object:
        return self.answers.pop(0) if self.answers else 204

    def verify(self, body: bytes, headers: dict[str, str]) -> None:
        for secret in self.secrets:
            try:
                self.got.append((headers["webhook-id"], Webhook(secret).verify(body, headers)))
                return
            except WebhookVerificationError:
                pass
        self.rejected += 1

    @property
    def types(self) -> list[str]:
        return [body["type"] for _, body in self.got]


@contextmanager
def receiving(receiver: Receiver | None = None, *, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    state = receiver or Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.verify(body, {name.lower(): value for name, value in self.headers.items()})
            answer = state.answer(self.headers["Webhook-Id"])
            if answer == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            if answer == "silent":
                time.sleep(1)
                return
            self.send_response(answer)
            for name, value in {"Content-Length": "0", "Location": "http://10.0.0.1/", **state.headers}.items():
                self.send_header(name, value)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield state
        server.shutdown()
