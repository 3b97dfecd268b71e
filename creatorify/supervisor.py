"""Runs the service's processes on one machine and restarts what dies, as systemd does in production."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from render.private_folder import private_folder

BASE_DIR = Path(__file__).resolve().parent.parent
RESTART_DELAY_SECONDS = 0.5
STOP_GRACE_SECONDS = 10


class Supervisor:
    """Web server, queue and reaper, and what else is given, each with a log file. Use as a context manager."""

    def __init__(
        self,
        *,
        port: int,
        log_folder: Path,
        environment: Mapping[str, str],
        further_commands: Mapping[str, list[str]] = MappingProxyType({}),
    ) -> None:
        python = sys.executable
        self.commands = {
            "web": [python, "-m", "creatorify.web", f"--port={port}"],
            # Where both want the same cores, requests come before films.
            "queue": ["nice", "-n", "5", python, "manage.py", "qcluster"],
            "reaper": [python, "manage.py", "reaper"],
            **further_commands,
        }
        self.base_url = f"http://127.0.0.1:{port}"
        self.log_folder = log_folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, **environment}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Supervisor":
        private_folder(self.log_folder)
        for name in self.commands:
            self._start(name)
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._watcher.join()
        for process in self.processes.values():
            # To the main process alone: django-q2 hangs when its whole group gets a SIGTERM.
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STOP_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, name: str) -> None:
        with (self.log_folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name],
                cwd=BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches only us, and what a child leaves behind can be killed with it.
                start_new_session=True,
            )

    def _watch(self) -> None:
        while not self._stopping.wait(RESTART_DELAY_SECONDS):
            for name, process in list(self.processes.items()):
                if process.poll() is not None and not self._stopping.is_set():
                    self._start(name)


def wait_until_listening(base_url: str, *, seconds: float) -> None:
    """Raises TimeoutError when nothing answers at `base_url` in time."""
    import httpx

    deadline = time.monotonic() + seconds
    while True:
        try:
            httpx.get(f"{base_url}/healthz", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nothing answers at {base_url}") from None
            time.sleep(0.1)
