import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from django.db import connection

from creatorify.demo.media import write_portrait, write_speech
from creatorify.demo.supervisor import Supervisor, wait_until_listening
from creatorify.operations import invariants
from render.machine import work_folder
from tests.database_setup import Emptying
from tests.render.conftest import site  # noqa: F401
from tests.stack import running_service, until


@pytest.fixture(scope="package")
def service_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the service that all tests of this folder share: its media, logs, work and tmp."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "tmp").mkdir()
    return folder


@pytest.fixture(scope="package")
def shared_service(django_db_setup: Emptying, django_db_blocker, service_folder: Path) -> Iterator[Supervisor]:
    """To start it takes more computing than most of its tests. It ends with the last test of this folder: another one's
    tests have the database to themselves."""
    with running_service(service_folder, TMPDIR=str(service_folder / "tmp")) as supervisor:
        yield supervisor
    with django_db_blocker.unblock():
        django_db_setup.empty()  # It has written, such as its node's row, since the last test ended.
        connection.close()


@pytest.fixture
def service(transactional_db: None, shared_service: Supervisor, service_folder: Path, settings) -> Iterator[Supervisor]:
    """Whole again, whatever the test before has killed, with an empty database and no media."""
    settings.MEDIA_ROOT, settings.WORK_DIR = service_folder / "media", service_folder / "work"
    until(lambda: not at_work(service_folder / "work"))
    for path in (service_folder / "media").glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    logs = {log: log.stat().st_size for log in (service_folder / "logs").glob("*.log")}
    until(lambda: all(process.poll() is None for process in shared_service.processes.values()), seconds=120)
    wait_until_listening(shared_service.base_url, seconds=120)
    try:
        yield shared_service
        assert invariants.check() == []
    finally:
        for log, size in sorted(logs.items()):
            print(f"--- {log.name}\n{log.read_bytes()[size:].decode()[-4000:]}")  # pytest shows it where a test fails


def at_work(folder: Path) -> list[Path]:
    """The work folders of renders of the test before, whose workers have yet to notice that their rows are gone."""
    work_folder.sweep()  # those of killed workers
    return list(folder.glob("*-a*/"))


@pytest.fixture
def client(service: Supervisor, alice) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": alice.plain_key}
    with httpx.Client(base_url=f"{service.base_url}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def real_media(site) -> dict[str, str]:  # noqa: F811
    """Addresses of a real portrait and of a real spoken sentence."""
    base_url, folder = site
    write_portrait(folder / "portrait.jpg")
    write_speech(folder / "speech.wav")
    return {"image_url": f"{base_url}/portrait.jpg", "audio_url": f"{base_url}/speech.wav"}


@pytest.fixture
def post(client: httpx.Client, site) -> Callable[..., str]:  # noqa: F811
    base_url, _ = site

    def create(engine: str, *, parameters: dict | None = None, **fields: str) -> str:
        body = {
            "title": "Test",
            "image_url": f"{base_url}/picture.png",
            "audio_url": f"{base_url}/voice.wav",
            **fields,
            "parameters": {"engine": engine, "seed": 42, **(parameters or {})},
        }
        response = client.post("/projects", json=body)
        assert response.status_code == 201, response.text
        return response.json()["id"]

    return create


@pytest.fixture
def wait_for(client: httpx.Client) -> Callable[..., dict]:
    """Poll a project's status until `condition` holds."""

    def wait(project_id: str, condition: Callable[[dict], bool], seconds: float = 300) -> dict:
        deadline = time.monotonic() + seconds
        while True:
            status = client.get(f"/projects/{project_id}/status").json()
            if condition(status):
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.1)

    return wait


def ended(status: dict) -> bool:
    return status["status"] in ("finished", "failed")
