"""The web process: `python -m creatorify.web --port 8000` serves `creatorify.asgi` with Granian.

Granian, because it ends connections whose headers come too slowly, and accepts only as many connections as it may hold.
Uvicorn has neither limit.
"""

import argparse
import resource
import socket
import sys

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from creatorify.asgi_middleware.asgi import Application
from render.cluster_hardening import die_with_parent

HEADER_SECONDS = 20  # To send the headers of a request, the pause before it included. Proxies must end theirs sooner.
HEADER_BYTES = 64 * 1024
STOP_SECONDS = 8  # For requests at work when the process is told to stop. Streams are resumed by their clients.
OTHER_DESCRIPTORS = 200  # Of files, database connections and libraries, beside the clients' connections.


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m creatorify.web", description="The web process.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    options = parser.parse_args()
    _refuse_taken_port(options.host, options.port)
    # In this process, so that its faults show at the start, and the workers, which are forks, share its memory.
    from django.conf import settings

    from creatorify.asgi import application

    def load() -> Application:
        die_with_parent()  # This process alone is watched and restarted.
        return application

    Server(
        "creatorify.asgi:application",
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGINL,  # No lifespan: Django has none.
        workers=settings.WEB_CONCURRENCY,
        workers_kill_timeout=STOP_SECONDS,
        # HTTP/1 only: while granian looks for HTTP/2's first bytes, a connection that sends none is never ended.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000, max_buffer_size=HEADER_BYTES),
        websockets=False,
        backlog=1024,
        backpressure=_max_connections(settings.MAX_CONNECTIONS),
        log_level=LogLevels.warning,
    ).serve(target_loader=load, wrap_loader=False)


def _max_connections(wanted: int) -> int:
    """Of each worker, below the limit of its file descriptors; that is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = hard if hard != resource.RLIM_INFINITY else max(soft, wanted + OTHER_DESCRIPTORS)
    soft = min(allowed, wanted + OTHER_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(soft - OTHER_DESCRIPTORS, 1)


def _refuse_taken_port(host: str, port: int) -> None:
    """Granian's workers share a port, so that a second server on it would get half of the first one's requests."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        sys.exit(f"The web server cannot listen on {host} port {port}: {error.strerror}")


if __name__ == "__main__":
    main()
