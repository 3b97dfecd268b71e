"""The same way of a film on the four configurations that docs/deploy.md offers, each with real processes."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urljoin

import av
import httpx
import psycopg
import pytest

from creatorify.config import database_roles
from creatorify.demo.media import write_portrait
from tests.postgres import APP_ROLE, NODE, Database, fresh_database, pgbouncer, supabase_like
from tests.servers.cloudinary import Cloudinary, running_cloudinary
from tests.servers.s3 import running_s3
from tests.stack import running_service, until

SCRIPT = "Hello, and welcome."


class Configuration:
    """A running service, a key of a tenant of it, and what is behind it."""

    def __init__(self, base_url: str, key: str, database: Database, cloudinary: Cloudinary | None) -> None:
        self.base_url, self.database, self.cloudinary = base_url, database, cloudinary
        self.client = httpx.Client(base_url=f"{base_url}/api/v1", headers={"X-API-Key": key}, timeout=30)


@contextmanager
def serving(
    folder: Path,
    database: Database,
    *,
    role: str | None = None,
    url: str = "",
    gpu_url: str = "",
    cloudinary: Cloudinary | None = None,
    **environment: str,
) -> Iterator[Configuration]:
    """role: whose the tables are. url: of the database as the service reaches it, gpu_url: as its GPU node does."""
    environment["DATABASE_URL"] = url or database.url(role)
    node = ["env", f"DATABASE_URL={gpu_url}"] if gpu_url else []
    node += [sys.executable, "manage.py", "gpu_node"]
    try:
        with running_service(folder, gpu_node_command=node, NODE_NAME=NODE, **environment) as service:
            key = database.manage("create_tenant", "Acme", role=role).strip()
            yield Configuration(service.base_url, key, database, cloudinary)
    finally:
        for log in sorted((folder / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")  # pytest shows it where a test fails


@contextmanager
def embedded_and_files(folder: Path) -> Iterator[Configuration]:
    with fresh_database("embedded", migrated=True) as database, serving(folder, database) as configuration:
        yield configuration


@contextmanager
def transaction_pooler_and_cloudinary(folder: Path) -> Iterator[Configuration]:
    gpu_role = database_roles.login_role(NODE)
    with ExitStack() as stack:
        database = stack.enter_context(supabase_like())
        pooler = stack.enter_context(pgbouncer(folder, database, mode="transaction", roles=[APP_ROLE, gpu_role]))
        cloudinary = stack.enter_context(running_cloudinary())
        urls = {"url": pooler.url(APP_ROLE), "gpu_url": pooler.url(gpu_role)}
        with serving(
            folder, database, role=APP_ROLE, cloudinary=cloudinary, **urls, **cloudinary.environment
        ) as configuration:
            yield configuration


@contextmanager
def s3(folder: Path) -> Iterator[Configuration]:
    with fresh_database("s3", migrated=True) as database, running_s3() as bucket:
        with serving(folder, database, **bucket) as configuration:
            yield configuration
        assert not (folder / "media").exists()


@contextmanager
def session_pooler_with_tls(folder: Path) -> Iterator[Configuration]:
    with ExitStack() as stack:
        database = stack.enter_context(supabase_like())
        pooler = stack.enter_context(pgbouncer(folder, database, mode="session", roles=[APP_ROLE], tls=True))
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(pooler.url(APP_ROLE) + "?sslmode=disable")
        with serving(
            folder, database, role=APP_ROLE, url=pooler.url(APP_ROLE), DATABASE_CA_FILE=str(pooler.ca_file)
        ) as configuration:
            yield configuration


@pytest.fixture(
    params=[
        pytest.param(embedded_and_files, marks=pytest.mark.slow),  # as the other tests here
        transaction_pooler_and_cloudinary,
        pytest.param(s3, marks=pytest.mark.slow),
        pytest.param(session_pooler_with_tls, marks=pytest.mark.slow),
    ]
)
def configuration(request, tmp_path: Path, django_db_setup, django_db_blocker) -> Iterator[Configuration]:
    with django_db_blocker.unblock(), request.param(tmp_path) as configuration:
        yield configuration


def test_a_film_from_upload_to_deletion(configuration: Configuration, tmp_path: Path) -> None:
    client = configuration.client
    portrait = upload(configuration, write_portrait(tmp_path / "portrait.jpg"), "image/jpeg")
    asked = {"title": "Film", "image_url": portrait["reference"], "script": SCRIPT}

    draft = create(client, {**asked, "parameters": {"engine": "draft", "seed": 1}})
    finished = wait(client, draft["id"])
    check_film(configuration, finished, tmp_path)
    assert finished["audio_url"].startswith("asset:")

    # On the GPU's queue, by a node of its own.
    on_gpu = wait(client, create(client, {**asked, "parameters": {"engine": "chunked", "seed": 1}})["id"])
    assert on_gpu["status"] == "finished", on_gpu["error"]
    check_playlist(configuration, on_gpu)

    canceled = create(client, {**asked, "parameters": {"engine": "slow", "seed": 1}})
    client.post(f"/projects/{canceled['id']}/cancel").raise_for_status()
    assert wait(client, canceled["id"])["state"] == "canceled"

    [total] = client.get("/usage").json()["totals"]
    entries = client.get("/usage/entries").json()["data"]
    billed = sum(entry["billed_seconds"] for entry in entries)
    assert billed == sum(-(-round(film["duration_seconds"] * 25) // 25) for film in (finished, on_gpu))
    assert (total["billed_seconds"], total["held_seconds"]) == (billed, 0)

    for project in (draft, on_gpu):
        client.delete(f"/projects/{project['id']}").raise_for_status()
    until(lambda: not reachable(configuration, finished["video_url"]), seconds=120)
    assert not reachable(configuration, finished["poster_url"])
    check_what_was_used(configuration)


def upload(configuration: Configuration, path: Path, content_type: str) -> dict:
    """As a customer does it, by what the answer says: to Cloudinary, to S3 or to the service."""
    client, content = configuration.client, path.read_bytes()
    body = {"filename": path.name, "content_type": content_type, "bytes": len(content)}
    announced = client.post("/uploads", json=body).raise_for_status().json()
    if announced["method"] == "POST":
        sent = httpx.post(announced["url"], data=announced["fields"], files={"file": content})
    else:
        sent = httpx.put(announced["url"], content=content, headers=announced["headers"])
    sent.raise_for_status()
    client.post(f"/uploads/{announced['upload_id']}/complete").raise_for_status()

    def asset() -> dict:
        return client.get(f"/assets/{announced['upload_id']}").json()

    until(lambda: asset()["state"] != "waiting", seconds=120)
    assert asset()["state"] == "ready", asset()
    assert httpx.get(asset()["url"]).content == content
    return asset()


def create(client: httpx.Client, body: dict) -> dict:
    response = client.post("/projects", json=body)
    assert response.status_code == 201, response.text
    return response.json()


def wait(client: httpx.Client, project_id: str) -> dict:
    def project() -> dict:
        return client.get(f"/projects/{project_id}").raise_for_status().json()

    until(lambda: project()["status"] in ("finished", "failed"), seconds=120)
    return project()


def check_film(configuration: Configuration, project: dict, folder: Path) -> None:
    assert project["status"] == "finished", project["error"]
    film = folder / "film.mp4"
    film.write_bytes(httpx.get(project["video_url"]).raise_for_status().content)
    with av.open(str(film)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        assert container.duration / 1e6 == pytest.approx(project["duration_seconds"], abs=0.1)
    part = httpx.get(project["video_url"], headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
    assert httpx.get(project["poster_url"]).raise_for_status().content.startswith(b"\xff\xd8")
    check_playlist(configuration, project)


def check_playlist(configuration: Configuration, project: dict) -> None:
    lines = httpx.get(project["preview_url"]).raise_for_status().text.splitlines()
    pieces = [line for line in lines if not line.startswith("#")]
    assert len(pieces) == project["segments_total"]
    for piece in pieces:
        content = httpx.get(urljoin(configuration.base_url, piece)).raise_for_status().content
        assert content[0] == content[188] == 0x47  # an MPEG transport stream (ISO/IEC 13818-1)


def check_what_was_used(configuration: Configuration) -> None:
    if configuration.cloudinary is not None:
        assert {kind for kind, _ in configuration.cloudinary.objects} >= {"image", "video"}  # the assets, which stay
        assert any(request["action"] == "delete" for request in configuration.cloudinary.requests)


def reachable(configuration: Configuration, url: str) -> bool:
    return httpx.get(url).status_code == 200
