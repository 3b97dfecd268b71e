"""A container of the web process is healthy with the settings of the example, by the very commands that Docker runs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests import ROOT
from tests.stack import database_url, free_port, until

DOCKER = ROOT / "deploy" / "docker"
CHECK = r"HEALTHCHECK [^[]*CMD (\[.*\])"


def of_dockerfile(pattern: str) -> list[str]:
    """The first command of this form: that of the image `cpu`."""
    found = re.search(pattern, (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return json.loads(found[1])


def of_compose() -> list[str]:
    how, *command = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["web"]["healthcheck"]["test"]
    assert how == "CMD"
    return command


def here(command: list[str], port: int) -> list[str]:
    """The same command with this Python and another port."""
    assert command[0] == "python" and "8000" in " ".join(command)
    return [sys.executable, *(part.replace("8000", str(port)) for part in command[1:])]


@pytest.fixture
def port(db, tmp_path: Path) -> Iterator[int]:
    """Of a web process with the names and the proxy of .env.example."""
    named = dict(re.findall(r"^([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named["ALLOWED_HOSTS"] == "avatars.example.com" and named["BEHIND_TLS_PROXY"] == "true"
    environment = {**os.environ, **named, "DATABASE_URL": database_url(), "VAR_DIR": str(tmp_path)}
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        command = here(of_dockerfile(r"^CMD (\[.*\])"), port)
        web = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: status(port, "/", Host="127.0.0.1") is not None, 60)
        yield port
    finally:
        web.terminate()
        web.wait()
        print((tmp_path / "log").read_text())


def status(port: int, path: str, **headers: str) -> int | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=60).status_code
    except httpx.TransportError:
        return None


def test_the_commands_of_the_image_and_of_compose_find_it_healthy(port: int) -> None:
    for command in (of_dockerfile(CHECK), of_compose()):
        # As often as Docker does: one request may be too slow for the command's own patience.
        until(lambda command=command: subprocess.run(here(command, port)).returncode == 0)

    assert status(port, "/healthz", Host="10.1.2.3") == 200  # As a load balancer asks.
    assert status(port, "/api/docs", Host="10.1.2.3") == 400
