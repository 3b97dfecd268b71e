"""`make hostile`: small files that are dear to decode, twenty of each kind, and a tenant who must not notice.

First each is decoded as a worker does it, which tells how it ends and what it costs. Then a service of two workers gets
them all from one tenant, as uploads and as sources of projects at once, and after each kind another tenant starts a
render. Prints a table; exits with 1 when a file passed its limit of computing time or a render began too late.
"""

import os
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

import httpx
from django.core.files.storage import default_storage

from accounts.api_keys import keys
from accounts.errors import ServiceError
from accounts.models import Tenant
from projects.models import Asset
from render.media.isolation import client as isolation
from render.models import Render, State
from tests.render import hostile_media
from tests.render.conftest import write_voice
from tests.render.hostile_media import KINDS, VOICE
from tests.stack import running_service, scratch_database, served_sources, unlimited_plan

FILES = 20  # of each kind
PATIENCE_SECONDS = 5.0  # in which another tenant's render must have begun
END_SECONDS = 300.0  # in which all must have ended


@dataclass
class Row:
    """What came of a kind's files."""

    files: list[tuple[str, bytes]]
    codes: Counter[str] = field(default_factory=Counter)
    most_cpu_seconds: float = 0.0
    limit_seconds: int = 0
    passed: int = 0  # files that took more than their limit
    began_after_seconds: float = 0.0


def main() -> int:
    rows = {kind: Row([make(number) for number in range(FILES)]) for kind, make in KINDS.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for row in rows.values():
            _decode_all(row, folder)
        with scratch_database(), running_service(folder, CPU_WORKERS="2", RENDER_LEASE_SECONDS="60") as service:
            outcome = _serve_all(rows, service.base_url, folder)
    print(f"{'kind':24}{'files':>6}{'max CPU s':>11}{'limit':>7}{'began after s':>15}  codes")
    for kind, row in rows.items():
        codes = ", ".join(f"{code} {number}" for code, number in sorted(row.codes.items()))
        began = f"{row.began_after_seconds:.2f}"
        print(f"{kind:24}{len(row.files):>6}{row.most_cpu_seconds:>11.2f}{row.limit_seconds:>7}{began:>15}  {codes}")
    print(outcome)
    late = [kind for kind, row in rows.items() if row.began_after_seconds > PATIENCE_SECONDS]
    passed = [kind for kind, row in rows.items() if row.passed]
    print(f"passed the limit: {passed or 'none'}; began late: {late or 'none'}")
    return 1 if late or passed else 0


def _decode_all(row: Row, folder: Path) -> None:
    real = isolation._run

    def measure(order, *arguments):  # type: ignore[no-untyped-def]
        outcome = real(order, *arguments)
        limit, spent = order["limits"]["cpu_seconds"], outcome["cpu_seconds"]
        row.passed += spent > limit + 1  # the second between the signal and the kill
        if spent >= row.most_cpu_seconds:
            row.most_cpu_seconds, row.limit_seconds = spent, limit
        return outcome

    isolation._run = measure
    try:
        for param, content in row.files:
            (folder / "source").write_bytes(content)
            try:
                hostile_media.decode(param, folder / "source", folder)
                row.codes["accepted"] += 1
            except ServiceError as error:
                row.codes[error.code] += 1
    finally:
        isolation._run = real


def _serve_all(rows: dict[str, Row], base_url: str, folder: Path) -> str:
    attacker, other = _client(base_url, "Attacker"), _client(base_url, "Other")
    good = served_sources(base_url, folder)
    write_voice(folder / "media" / "speech.wav", 1)  # short: the renders of accepted files are not what is looked at
    began, most_at_once = time.monotonic(), 0
    for row in rows.values():
        for number, (param, content) in enumerate(row.files):
            _upload(attacker, param, content)
            most_at_once = max(most_at_once, _in_check())
            if number % 4 == 0:
                _create(attacker, {**good, param: _served(base_url, folder, content)})
        project = _create(other, good)
        row.began_after_seconds = _seconds_until_begun(project)
        most_at_once = max(most_at_once, _in_check())
    while (left := _unfinished()) and time.monotonic() - began < END_SECONDS:
        most_at_once = max(most_at_once, _in_check())
        time.sleep(0.1)
    others = Render.objects.filter(tenant__name="Other")
    finished = others.filter(state=State.FINISHED).count()
    return (
        f"of the other tenant's {others.count()} renders {finished} are finished; most of the attacker's files in check"
        f" at once: {most_at_once}; not ended after {time.monotonic() - began:.0f} s: {left}"
    )


def _client(base_url: str, name: str) -> httpx.Client:
    _, plain = keys.issue(Tenant.objects.create(name=name, plan=unlimited_plan(name)), name=name)
    return httpx.Client(base_url=f"{base_url}/api/v1", headers={"X-API-Key": plain}, timeout=60)


def _upload(client: httpx.Client, param: str, content: bytes) -> None:
    kind = "audio/wav" if param == VOICE else "image/png"
    told = client.post("/uploads", json={"filename": "file", "content_type": kind, "bytes": len(content)})
    told.raise_for_status()
    upload = told.json()
    httpx.put(upload["url"], content=content, headers=upload["headers"], timeout=60).raise_for_status()


def _served(base_url: str, folder: Path, content: bytes) -> str:
    name = f"hostile-{zlib.crc32(content):08x}"
    (folder / "media" / name).write_bytes(content)
    return base_url + default_storage.url(name)


def _create(client: httpx.Client, sources: dict[str, str]) -> str:
    body = {"title": "Hostile", **sources, "parameters": {"engine": "instant", "seed": 1}}
    answer = client.post("/projects", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _seconds_until_begun(project_id: str) -> float:
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        render = Render.objects.filter(take__project=project_id).latest("created_at")
        if render.started_at is not None:
            return (render.started_at - render.created_at).total_seconds()
        time.sleep(0.05)
    return END_SECONDS


def _in_check() -> int:
    return Asset.objects.filter(being_checked=True, state=Asset.State.WAITING).count()


def _unfinished() -> int:
    waiting = Asset.objects.filter(state=Asset.State.WAITING).count()
    return waiting + Render.objects.filter(state__in=[State.QUEUED, State.RUNNING]).count()


if __name__ == "__main__":
    sys.exit(main())
