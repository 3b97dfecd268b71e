"""The web process: `python -m creatorify.web --port 8000` serves `creatorify.asgi` with Granian.

Granian closes connections whose headers come too slowly, and accepts a limited number of connections. Uvicorn has
neither limit.
"""

import argparse
import os
import socket
import sys

from asgiref.typing import ASGI3Application
from django.conf import settings
from django.core.management.base import BaseCommand, SystemCheckError
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.mp import MPServer

from creatorify.asgi_middleware import connections
from creatorify.asgi_middleware.client_limits import READ_SECONDS
from creatorify.config.start import faults_end_the_process, loading, read_settings, start_database
from creatorify.web.port import port_number
from render.parent_death import die_with_parent

HEADER_SECONDS = (
    20  # for the headers of a request and the pause before them; a proxy must close idle connections sooner
)
HEADER_BYTES = 64 * 1024
STOP_SECONDS = 8  # for requests in work when the process stops; clients resume their streams elsewhere


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m creatorify.web", description="The web process.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port_number, default=8000, help="(default: %(default)s)")
    options = parser.parse_args()
    # Loaded before the workers are forked: so faults show at the start, and the workers share the memory.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "creatorify.settings")
    os.environ.setdefault("DATABASE_POOL_SIZE", "10")  # as in creatorify/asgi.py, which another server may load
    with faults_end_the_process():
        read_settings()
        start_database()
        with loading():
            from creatorify.asgi import application  # It needs the settings.

            try:
                BaseCommand().check()
            except SystemCheckError as error:
                sys.exit(str(error))

    def load() -> ASGI3Application:
        die_with_parent()  # Supervisors watch and restart only the parent.
        return application

    connections.raise_descriptor_limit()
    _Server(
        "creatorify.asgi:application",
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGINL,  # without lifespan events, which Django does not handle
        workers=settings.WEB_CONCURRENCY,
        workers_kill_timeout=STOP_SECONDS,
        # HTTP/1 only: with HTTP/2, granian never closes a connection that sends nothing.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000, max_buffer_size=HEADER_BYTES),
        websockets=False,
        backlog=1024,
        backpressure=connections.most(),
        log_level=LogLevels.warning,
    ).serve(target_loader=load, wrap_loader=False)


class _Server(MPServer):
    """Granian on a socket of ours: connections inherit its options, and no second server can share its port.

    It overrides a private method: granian is pinned, and tests/service/test_web_process.py tests the effect.
    """

    def _init_shared_socket(self) -> None:
        address, family = (self.bind_addr, self.bind_port), socket.AF_INET6 if ":" in self.bind_addr else socket.AF_INET
        try:
            listener = socket.create_server(address, family=family, backlog=self.backlog)
        except OSError as error:
            sys.exit(f"The web server cannot listen on {self.bind_addr} port {self.bind_port}: {error.strerror}")
        # Without it, a client that does not read its response would keep the connection open for ever.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(READ_SECONDS * 1000))
        listener.setblocking(False)
        listener.set_inheritable(True)
        self._ssp, self._sso = None, listener
        self._shd = SocketHolder(listener.fileno(), False, self.backlog)  # type: ignore[assignment, call-arg]
