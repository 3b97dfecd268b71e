"""Machines whose disk is full, out of inodes or read-only: small real file systems, each in a mount namespace."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from creatorify.demo.supervisor import Supervisor
from render.models import TERMINAL_STATES, Attempt, Node, Render, State
from tests.service.conftest import ended
from tests.stack import running_service, until

can_mount = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not can_mount, reason="only root may mount a small file system")

# What the file system of the work folder is mounted with.
FULL = "size=600k"
NO_INODES = "size=200m,nr_inodes=3"
READ_ONLY = "size=200m,ro"


def queue_with(mount: str, folder: Path, *, node: str, **environment: str) -> list[str]:
    """A queue's command as a machine of its own. mount: options of the tmpfs that it sees at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = [f"{name}={value}" for name, value in {"NODE_NAME": node, **environment}.items()]
    script = (
        f"mount -t tmpfs -o {mount} tmpfs {folder} && exec env {' '.join(settings)} {sys.executable} manage.py qcluster"
    )
    return ["unshare", "-m", "sh", "-c", script]


@contextmanager
def service_of(folder: Path, commands: Mapping[str, list[str]], **environment: str) -> Iterator[Supervisor]:
    try:
        with running_service(folder, web=False, commands=commands, CANARY_SECONDS="2", **environment) as service:
            yield service
    finally:
        for log in sorted((folder / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")  # pytest shows it where a test fails


@pytest.fixture
def machines(transactional_db, tmp_path: Path, request) -> Iterator[Supervisor]:
    """A healthy one and one with the disk that the test asks for."""
    mount, environment = request.param
    broken = queue_with(mount, tmp_path / "work", node="broken", **environment)
    with service_of(tmp_path, {"broken": broken}) as service:
        yield service


# The second kind: as if there were room enough, so that the renders themselves meet the end of the disk.
@pytest.mark.parametrize(
    "machines",
    [
        pytest.param((FULL, {}), marks=pytest.mark.slow),
        pytest.param((NO_INODES, {}), marks=pytest.mark.slow),
        pytest.param((READ_ONLY, {}), marks=pytest.mark.slow),
        pytest.param(("size=60k", {"MIN_FREE_WORK_BYTES": "0"}), marks=pytest.mark.slow),
    ],
    ids=["full", "no inodes", "read-only", "full in mid-render"],
    indirect=True,
)
def test_every_film_is_made_by_the_machine_beside_it(machines, enqueue: Callable[..., Render]) -> None:
    until(lambda: Node.objects.filter(name="broken").exists())
    for _ in range(6):
        enqueue()

    renders = Render.objects.all()
    until(lambda: not renders.exclude(state__in=TERMINAL_STATES).exists(), seconds=300)

    assert set(renders.values_list("state", flat=True)) == {State.FINISHED}
    assert set(renders.values_list("failures", "crashes", "storage_failures")) == {(0, 0, 0)}
    assert set(renders.values_list("node__name", flat=True)).isdisjoint({"broken"})
    ours = Attempt.objects.filter(node__name="broken")
    assert set(ours.values_list("outcome", flat=True)) <= {Attempt.Outcome.NODE_FAULT}
    until(lambda: Node.objects.get(name="broken").fault != "")


def test_alone_it_says_why_films_wait_and_makes_them_when_there_is_room(
    transactional_db, tmp_path: Path, alice, site, settings
) -> None:
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    command = queue_with(FULL, tmp_path / "work", node="broken")
    with service_of(tmp_path, {"queue": command}) as service:
        base_url, _ = site
        body = {"title": "x", "image_url": f"{base_url}/picture.png", "audio_url": f"{base_url}/voice.wav"}
        made = alice.post("/api/v1/projects", {**body, "parameters": {"engine": "instant"}}, format="json")
        url = made.json()["urls"]["status"]
        until(lambda: alice.get(url).json()["waiting_reason"] == "node_fault")
        assert Render.objects.get().state == State.QUEUED
        assert "MiB free and needs" in Node.objects.get(name="broken").fault

        room = ["mount", "-o", "remount,size=200m", str(tmp_path / "work")]
        pid = str(service.processes["queue"].pid)
        subprocess.run(["nsenter", "-t", pid, "-m", *room], check=True)
        until(lambda: ended(alice.get(url).json()), seconds=300)

        assert alice.get(url).json()["status"] == "finished"
    assert (Render.objects.get().failures, Node.objects.get(name="broken").fault) == (0, "")
    # Once for the change, however often it looked; twice where the room came between the looks of two processes.
    assert (tmp_path / "logs" / "queue.log").read_text().count("takes no work") in (1, 2)


@pytest.mark.slow
def test_a_full_folder_for_temporary_files_stops_a_machine_too(transactional_db, tmp_path: Path) -> None:
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    command = queue_with("size=4k", tmp, node="broken", TMPDIR=str(tmp))
    # It is filled when the queue has chosen it: as it starts, Python looks for a folder that it can write to.
    with service_of(tmp_path, {"queue": command}) as service:
        until(lambda: Node.objects.filter(name="broken", canary_at__isnull=False).exists())
        fill = ["sh", "-c", f"head -c 100000 /dev/zero > {tmp}/full || true"]
        subprocess.run(["nsenter", "-t", str(service.processes["queue"].pid), "-m", *fill], check=True)

        until(lambda: Node.objects.get(name="broken").fault.startswith(f"{tmp} cannot be written to"))
