"""The real service on loopback: web server, queue and reaper as processes of their own, on the tests' database."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
from django.db import connection

from creatorify.supervisor import Supervisor, wait_until_listening

LEASE_SECONDS = 4


@contextlib.contextmanager
def running_service(folder: Path, **environment: str) -> Iterator[Supervisor]:
    """Start everything, with leases short enough to wait for."""
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}@{quote(database['HOST'], safe='')}:{database['PORT']}/{database['NAME']}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Supervisor(
        port=port,
        log_folder=folder / "logs",
        environment={
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": url,
            "MEDIA_ROOT": str(folder / "media"),
            "WORK_DIR": str(folder / "work"),
            "ALLOW_PRIVATE_MEDIA_URLS": "true",
            "CPU_WORKERS": "1",
            "RENDER_LEASE_SECONDS": str(LEASE_SECONDS),
            "RENDER_LEASE_RENEW_SECONDS": "1",
            "REAPER_INTERVAL_SECONDS": "1",
            **environment,
        },
    )
    with service:
        wait_until_listening(service.base_url, seconds=30)
        yield service


def queue_worker(service: Supervisor) -> psutil.Process:
    """The process of the queue that runs tickets: the first child of django-q2's sentinel."""
    [sentinel] = psutil.Process(service.processes["queue"].pid).children()
    return min(sentinel.children(), key=lambda process: process.pid)
