"""The real service as the campaign plays it: web, CPU queue, reaper and two GPU nodes on a database that can crash."""

import itertools
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any

import httpx
import psutil
from django.conf import settings
from PIL import Image

from accounts.api_keys import keys
from accounts.models import Plan, Scope, Tenant
from creatorify.demo.supervisor import Supervisor, wait_until_listening
from render.models import Node, Render
from tests.chaos.database import CrashingDatabase
from tests.chaos.engines import FRAMES
from tests.render.conftest import write_voice

LEASE_SECONDS = 4.0
REAP_SECONDS = 1.0
HANG_SECONDS = 5
LONGEST_PAUSE_SECONDS = 1.0  # Here processes die because they are killed, and often in a row.
CPU_WORKERS = 2
GPU_NODES = ("gpu-a", "gpu-b")
QUEUES = ("queue", *GPU_NODES)
VOICE_SECONDS = 16
SLOW_SECONDS = 1.5  # that the customers' server takes for /slow/


@dataclass
class Stage:
    service: Supervisor
    database: CrashingDatabase
    site: str
    folder: Path
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def tenant(self, name: str, **plan: int) -> Tenant:
        """A customer with an API key and limits that are never reached, unless given."""
        limits = {"max_concurrent": 64, "max_queued": 10**6, "monthly_seconds": 10**8, **plan}
        limits |= {"creates_per_minute": 10**6, "requests_per_minute": 10**6}
        tenant = Tenant.objects.create(name=name, plan=Plan.objects.create(name=name, **limits))
        _, plain_key = keys.issue(tenant, name=name, scopes=list(Scope))
        self.clients[name] = httpx.Client(
            base_url=f"{self.service.base_url}/api/v1", headers={"X-API-Key": plain_key}, timeout=20
        )
        return tenant

    def body(self, engine: str = "brief", *, picture: str = "picture.png", frames: int = FRAMES) -> dict[str, object]:
        return {
            "title": "Chaos",
            "image_url": f"{self.site}/{picture}",
            "audio_url": f"{self.site}/voice.wav",
            "parameters": {"engine": engine, "seed": 7, "frame_num": frames},
        }

    def create(self, tenant: str, engine: str = "brief", **body: Any) -> Render:
        answer = self.clients[tenant].post("/projects", json=self.body(engine, **body))
        assert answer.status_code == 201, answer.text
        return Render.objects.get(take__project=answer.json()["id"])

    def cancel(self, tenant: str, render: Render) -> int:
        project = render.take.project_id
        return self.clients[tenant].post(f"/projects/{project}/cancel").status_code

    def tree(self, name: str) -> "Tree":
        """The processes of a queue: `queue`, `gpu-a` or `gpu-b`. Waits until all of it runs."""
        deadline = time.monotonic() + 30
        while True:
            try:
                main = psutil.Process(self.service.processes[name].pid)
                if name != "queue":
                    [main] = main.children()
                [sentinel] = main.children()
                *workers, monitor, pusher = sorted(sentinel.children(), key=lambda child: child.pid)
                if len(workers) == (CPU_WORKERS if name == "queue" else 1):
                    return Tree(main, sentinel, workers, monitor, pusher)
            except (psutil.NoSuchProcess, ValueError):
                pass
            assert time.monotonic() < deadline, f"{name} does not start"
            time.sleep(0.02)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """That node is away: all of it is killed, and not started again meanwhile."""
        commands = self.service.commands
        command, commands[name] = commands[name], ["sleep", "infinity"]
        for process in {self.supervised(name), *self.tree(name).all}:
            process.kill()
        try:
            yield
        finally:
            commands[name] = command
            until(lambda: self.supervised(name).name() == "sleep", 5, f"{name} is away")
            self.supervised(name).kill()

    @contextmanager
    def draining(self, *names: str) -> Iterator[None]:
        """Those GPU nodes take no render meanwhile."""
        Node.objects.filter(name__in=names).update(draining=True)
        try:
            yield
        finally:
            Node.objects.filter(name__in=names).update(draining=False)

    @contextmanager
    def locked(self, table: str, row: str) -> Iterator[None]:
        """Whoever wants to write that row waits meanwhile. row: a condition that finds it."""
        connection = self.database.connect()
        try:
            connection.execute(f"SELECT FROM {table} WHERE {row} FOR UPDATE")  # type: ignore[arg-type]
            yield
        finally:
            connection.close()

    def supervised(self, name: str) -> psutil.Process:
        return psutil.Process(self.service.processes[name].pid)


@dataclass(frozen=True)
class Tree:
    main: psutil.Process
    sentinel: psutil.Process
    workers: list[psutil.Process]
    monitor: psutil.Process
    pusher: psutil.Process

    @property
    def all(self) -> list[psutil.Process]:
        return [self.main, self.sentinel, *self.workers, self.monitor, self.pusher]


@contextmanager
def stage(
    folder: Path, *, mutation: str = "", node_prefixes: Mapping[str, list[str]] = MappingProxyType({}), **changes: str
) -> Iterator[Stage]:
    """Start everything; the database is that of the settings, in `folder`.

    node_prefixes: what a GPU node's command begins with. changes: of the environment.
    """
    database = CrashingDatabase(folder / "postgres")
    with customers_server(folder / "site") as site, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        nodes = {
            name: ["env", f"NODE_NAME={name}", *node_prefixes.get(name, []), sys.executable, "manage.py", "gpu_node"]
            for name in GPU_NODES
        }
        service = Supervisor(
            port=port,
            log_folder=folder / "logs",
            environment={
                "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
                "DATABASE_URL": settings.DATABASE_URL,
                "CHAOS_HISTORY": str(folder / "history"),
                "CHAOS_MUTATION": mutation,
                "MEDIA_ROOT": str(folder / "media"),
                "WORK_DIR": str(folder / "work"),
                "ALLOW_PRIVATE_MEDIA_URLS": "true",
                "NODE_NAME": "cpu-a",
                "CPU_WORKERS": str(CPU_WORKERS),
                "RENDER_LEASE_SECONDS": str(LEASE_SECONDS),
                "RENDER_LEASE_RENEW_SECONDS": "1",
                "RENDER_HANG_SECONDS": str(HANG_SECONDS),
                "REAPER_INTERVAL_SECONDS": str(REAP_SECONDS),
                **changes,
            },
            further_commands=nodes,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        )
        with service:
            wait_until_listening(service.base_url, seconds=60)
            play = Stage(service, database, site, folder)
            for name in ("queue", *GPU_NODES):
                play.tree(name)
            yield play


@contextmanager
def customers_server(folder: Path) -> Iterator[str]:
    """Where the customers' pictures and voices lie; what is below /slow/ comes after a while."""
    folder.mkdir()
    Image.new("RGB", (320, 240), "teal").save(folder / "picture.png")
    write_voice(folder / "voice.wav", VOICE_SECONDS)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.startswith("/slow/"):
                time.sleep(SLOW_SECONDS)
                self.path = self.path.removeprefix("/slow")
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait for it; return how long it took."""
    start = time.monotonic()
    for _ in itertools.count():
        if condition():
            break
        if time.monotonic() > start + seconds:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - start
