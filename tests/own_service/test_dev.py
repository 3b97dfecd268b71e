"""`manage.py dev`: starts the service again when a source file changes, shows its logs, and ends as a whole."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from tests.own_service.demo_process import ROOT, var  # noqa: F401
from tests.stack import free_port, until


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def process_environment(process: psutil.Process) -> list[str]:
    return [f"{name}={value}" for name, value in process.environ().items()]


@pytest.mark.slow
def test_a_changed_file_restarts_the_service_and_a_signal_ends_it(var: Path) -> None:  # noqa: F811
    url = f"http://127.0.0.1:{(port := free_port())}/healthz"
    environment = {**os.environ, "VAR_DIR": str(var), "DJANGO_SETTINGS_MODULE": "creatorify.settings"}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "manage.py", "dev", f"--port={port}"]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # A test run in the background ignores it.
    ) as service:
        assert service.stdout is not None
        threading.Thread(target=lines.extend, args=[iter(service.stdout.readline, "")], daemon=True).start()
        until(lambda: answers(url), seconds=120)
        assert not answers(url.replace("healthz", "api/v1/projects"))
        until(lambda: any(line.startswith("web ") and "GET /api/v1/projects 401" in line for line in lines), seconds=60)

        # The demo has the same database, and its user must keep the password that the demo has printed.
        password = (var / "demo" / "admin_password").read_text()
        assert any(line.startswith("Admin ") and line.endswith(f"password {password}\n") for line in lines)
        public_url = f"PUBLIC_URL=http://127.0.0.1:{port}"  # for the links of webhook messages
        assert any(public_url in process_environment(child) for child in psutil.Process(service.pid).children())

        os.utime(ROOT / "creatorify" / "urls.py")

        until(lambda: "Source files have changed: the service is started again.\n" in lines, seconds=60)
        until(lambda: sum(line.startswith("API docs ") for line in lines) == 2, seconds=60)
        until(lambda: answers(url), seconds=120)
        service.send_signal(signal.SIGINT)
        assert service.wait(timeout=120) == 0, lines
    assert not any("Traceback" in line for line in lines), lines
