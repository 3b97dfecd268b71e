"""`make siege`: a minute of every attack at once on the real service, whose storage is slow, while a tenant polls.

Prints the tenant's times, what the disk has grown by, and how soon all is as before. Ends with 1 when another tenant
would have noticed: polls of over a second (99 of 100), 10 MB of disk, or 5 seconds until it is as quick as before.
"""

import argparse
import contextlib
import http.server
import json
import os
import stat
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.siege.settings")

import django

django.setup()

import httpx
import psutil

from accounts.api_keys import keys
from accounts.models import Scope, Tenant
from tests.stack import running_service, scratch_database, unlimited_plan

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.siege.settings"}
STORAGE_SECONDS = 12
POLL_SECONDS = 0.1
LIMITS = {"poll_p99_seconds": 1.0, "disk_grown_mb": 10.0, "back_after_seconds": 5.0}
SOURCES = {"image_url": "https://example.com/portrait.jpg", "audio_url": "https://example.com/speech.mp3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with scratch_database(), tempfile.TemporaryDirectory() as name, _slow_storage() as storage:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        with running_service(folder, **storage, TMPDIR=str(folder / "tmp"), **SETTINGS) as service:
            report = _besiege(service.base_url, folder, seconds, psutil.Process(service.processes["web"].pid))
    print(json.dumps(report, indent=1))
    sys.exit(any(report[name] > limit for name, limit in LIMITS.items()))


def _besiege(base_url: str, folder: Path, seconds: int, web: psutil.Process) -> dict[str, float]:
    plan = unlimited_plan("Siege")
    victim = keys.issue(Tenant.objects.create(name="Victim", plan=plan), name="victim")[1]
    attacker = keys.issue(Tenant.objects.create(name="Attacker", plan=plan), name="attacker", scopes=list(Scope))[1]
    with httpx.Client(base_url=base_url, headers={"X-API-Key": victim}, timeout=60) as client:
        project = client.post("/api/v1/projects", json={"title": "Siege", **SOURCES}).raise_for_status().json()
        status = project["urls"]["status"]
        quiet = [_poll(client, status) for _ in range(50)]
        before = _bytes(folder, web)
        command = [sys.executable, "-m", "tests.siege.attackers", base_url, attacker, str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attack:
            under_attack, most = [], before
            while attack.poll() is None:
                under_attack.append(_poll(client, status))
                most = max(most, _bytes(folder, web))
                time.sleep(POLL_SECONDS)
            ended = time.monotonic()
            assert attack.stdout is not None and attack.returncode == 0
            print(f"attacks: {attack.stdout.read().strip()}", flush=True)
        bearable = 3 * max(quiet)
        while _poll(client, status) > bearable:
            pass
        return {
            "polls": len(under_attack),
            "quiet_p50_seconds": round(statistics.median(quiet), 3),
            "poll_p50_seconds": round(statistics.median(under_attack), 3),
            "poll_p99_seconds": round(statistics.quantiles(under_attack, n=100)[98], 3),
            "poll_longest_seconds": round(max(under_attack), 3),
            "disk_grown_mb": round((most - before) / 1e6, 1),
            "back_after_seconds": round(time.monotonic() - ended, 1),
        }


def _poll(client: httpx.Client, address: str) -> float:
    began = time.monotonic()
    client.get(address).raise_for_status()
    return time.monotonic() - began


def _bytes(folder: Path, web: psutil.Process) -> int:
    """On the disk, temporary files without a name included."""
    files = {path.stat() for path in folder.rglob("*") if path.is_file()}
    for process in [web, *web.children()]:
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG((facts := descriptor.stat()).st_mode):
                    files.add(facts)
    return sum({(facts.st_dev, facts.st_ino): facts.st_size for facts in files}.values())


@contextmanager
def _slow_storage() -> Iterator[dict[str, str]]:
    """A bucket that takes 12 seconds for every answer; as settings of the service."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            time.sleep(STORAGE_SECONDS)
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.send_header("ETag", '"x"')
            self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "S3_BUCKET": "siege",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "S3_REGION": "eu-central-1",
            "S3_ACCESS_KEY_ID": "key",
            "S3_SECRET_ACCESS_KEY": "secret",
        }
    finally:
        server.shutdown()


if __name__ == "__main__":
    main()
