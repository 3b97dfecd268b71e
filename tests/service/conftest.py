import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from creatorify.demo.media import write_portrait, write_speech
from creatorify.demo.supervisor import Supervisor
from creatorify.operations import invariants
from tests.render.conftest import site  # noqa: F401
from tests.stack import running_service


@pytest.fixture
def service(transactional_db, tmp_path: Path) -> Iterator[Supervisor]:
    try:
        with running_service(tmp_path) as supervisor:
            yield supervisor
        assert invariants.check() == []
    finally:
        for log in sorted((tmp_path / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")  # pytest shows it where a test fails


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

    def wait(project_id: str, condition: Callable[[dict], bool], seconds: float = 60) -> dict:
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
