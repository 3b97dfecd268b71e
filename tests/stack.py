"""The real service on loopback: web server, queue and reaper as processes of their own, on the tests' database; with a
GPU node beside them, if asked for, whose model server has tiny weights and no GPU."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import psutil
from django.core.files.storage import default_storage
from django.db import connection

from accounts.models import Plan
from creatorify.config.start import start_database
from creatorify.demo.media import write_portrait, write_speech
from creatorify.demo.supervisor import Supervisor, wait_until_listening

LEASE_SECONDS = 4
GPU_NODE = {"gpu_node": [sys.executable, "manage.py", "gpu_node"]}


@contextlib.contextmanager
def running_service(
    folder: Path,
    *,
    web: bool = True,
    gpu_node: bool = False,
    gpu_node_command: list[str] | None = None,
    weights: Path | None = None,
    commands: Mapping[str, list[str]] = MappingProxyType({}),
    **environment: str,
) -> Iterator[Supervisor]:
    """Start everything, with leases short enough to wait for. web: False where a test makes its requests in its own
    process. weights: of a model server, for the gpu_node. commands: further ones, or others than the usual.
    """
    gpu_nodes = {"gpu_node": gpu_node_command} if gpu_node_command else GPU_NODE if gpu_node else {}
    service = Supervisor(
        port=free_port(),
        log_folder=folder / "logs",
        environment={
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": database_url(),
            "MEDIA_ROOT": str(folder / "media"),
            "WORK_DIR": str(folder / "work"),
            "ALLOW_PRIVATE_MEDIA_URLS": "true",
            "CPU_WORKERS": "1",
            "RENDER_LEASE_SECONDS": str(LEASE_SECONDS),
            "RENDER_LEASE_RENEW_SECONDS": "0.3",
            "REAPER_INTERVAL_SECONDS": "0.5",
            **(_gpu_environment(folder, weights) if weights else {}),
            **environment,
        },
        further_commands={
            **gpu_nodes,
            **(_model_server(folder, weights) if weights else {}),
            **commands,
            **({} if web else {"web": ["sleep", "infinity"]}),
        },
    )
    with service:
        if web:
            wait_until_listening(service.base_url, seconds=120)
        yield service


def database_url() -> str:
    """Of the tests' database."""
    start_database()
    database = connection.settings_dict
    return f"postgresql://{database['USER']}@{quote(database['HOST'], safe='')}:{database['PORT']}/{database['NAME']}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def scratch_database() -> Iterator[None]:
    """The tests' database, for what is run without pytest."""
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


def unlimited_plan(name: str) -> Plan:
    """One whose limits no run reaches."""
    limits = {"max_concurrent": 64, "max_queued": 10**6, "monthly_seconds": 10**8}
    return Plan.objects.create(name=name, **limits, creates_per_minute=10**6, requests_per_minute=10**6)


def served_sources(base_url: str, folder: Path) -> dict[str, str]:
    """A portrait and a voice that the service itself serves, as fields of a project. folder: its own."""
    media = folder / "media"
    media.mkdir(exist_ok=True)
    write_portrait(media / "portrait.jpg")
    write_speech(media / "speech.wav")
    files = {"image_url": "portrait.jpg", "audio_url": "speech.wav"}
    return {field: base_url + default_storage.url(name) for field, name in files.items()}


def _gpu_environment(folder: Path, weights: Path) -> dict[str, str]:
    return {
        "ENGINES": "draft,infinitetalk",
        "INFINITETALK_SOCKET": str(folder / "model.sock"),
        "INFINITETALK_SIZES": str(weights / "Wan2.1-I2V-14B-480P/config.json"),
        "OMP_NUM_THREADS": "1",  # The tensors are tiny: more threads only wait for each other.
    }


def _model_server(folder: Path, weights: Path) -> dict[str, list[str]]:
    serve = [sys.executable, "-m", "infinitetalk", "serve", "--dtype", "float32"]
    return {"model": [*serve, "--socket", str(folder / "model.sock"), "--weights", str(weights)]}


def queue_worker(service: Supervisor, name: str = "queue") -> psutil.Process:
    """The process of a queue that runs tickets: the first child of django-q2's sentinel."""
    main = psutil.Process(service.processes[name].pid)
    if name == "gpu_node":
        [main] = main.children()
    [sentinel] = main.children()
    return min(sentinel.children(), key=lambda process: process.pid)


def web_worker(service: Supervisor) -> psutil.Process:
    """The process that answers requests: the child of the web server's main process."""
    [worker] = psutil.Process(service.processes["web"].pid).children()
    return worker


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
