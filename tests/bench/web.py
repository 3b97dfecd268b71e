"""`make bench-web`: what a request costs in the web process, and under uvicorn with Django's ASGI handler, in one run.

Both serve the same addresses from the same database, one request at a time over one connection. The figure is the time
of a core that the server's processes spend, so that other work on the machine changes it little.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.load.settings")

import django

django.setup()

import psutil

from accounts.api_keys import keys
from accounts.models import Tenant
from tests.stack import database_url, free_port, scratch_database, unlimited_plan

WARM_UP, MEASURED = 200, 1000
SERVERS = {
    "granian, creatorify.asgi": ["-m", "creatorify.web", "--port"],
    "uvicorn, Django's ASGI handler": [
        "-m",
        "uvicorn",
        "tests.load.django_asgi:application",
        "--no-access-log",
        "--port",
    ],
}
SOURCES = {"image_url": "https://example.com/portrait.jpg", "audio_url": "https://example.com/speech.mp3"}


def main() -> None:
    with scratch_database(), tempfile.TemporaryDirectory() as folder:
        tenant = Tenant.objects.create(name="Bench", plan=unlimited_plan("Bench"))
        headers = {"X-API-Key": keys.issue(tenant, name="bench")[1], "Content-Type": "application/json"}
        report = {name: _measure(arguments, headers, Path(folder)) for name, arguments in SERVERS.items()}
    ours, others = report.values()
    report["ratio"] = {what: round(ours[what] / others[what], 2) for what in ours}
    print(json.dumps(report, indent=1))


def _measure(arguments: list[str], headers: dict[str, str], folder: Path) -> dict[str, float]:
    """Milliseconds of a core for each kind of request."""
    with _served(arguments, folder) as (server, client):
        client.request("POST", "/api/v1/projects", json.dumps({"title": "Bench", **SOURCES}), headers)
        project = json.loads(client.getresponse().read())
        paths = {"a view that does nothing": "/bare", "status poll": f"/api/v1/projects/{project['id']}/status"}
        return {what: _cost(server, client, path, headers) for what, path in paths.items()}


def _cost(server: psutil.Process, client: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> float:
    def ask(number: int) -> None:
        for _ in range(number):
            client.request("GET", path, headers=headers)
            response = client.getresponse()
            response.read()
            assert response.status == 200

    ask(WARM_UP)
    before = _seconds(server)
    ask(MEASURED)
    return round((_seconds(server) - before) / MEASURED * 1000, 2)


def _seconds(server: psutil.Process) -> float:
    times = [process.cpu_times() for process in [server, *server.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


@contextmanager
def _served(arguments: list[str], folder: Path) -> Iterator[tuple[psutil.Process, http.client.HTTPConnection]]:
    port = free_port()
    environment = {**os.environ, "DATABASE_URL": database_url(), "LOG_LEVEL": "WARNING", "DATABASE_POOL_SIZE": "10"}
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen([sys.executable, *arguments, str(port)], env=environment, stdout=log, stderr=log)
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.request("GET", "/bare")
                client.getresponse().read()
                break
            except OSError:
                client.close()
                if time.monotonic() > deadline or server.poll() is not None:
                    raise RuntimeError((folder / "log").read_text()) from None
                time.sleep(0.1)
        yield psutil.Process(server.pid), client
    finally:
        client.close()
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
