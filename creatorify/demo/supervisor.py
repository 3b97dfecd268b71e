"""Runs the service's processes on one machine and restarts what dies, as systemd does in production."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from creatorify.logs.log_file import OWN_LINES, end_of
from render.storage.private_folder import private_folder

logger = logging.getLogger(__name__)

BASE_DIR = Path(__file__).resolve().parents[2]
FIRST_PAUSE_SECONDS = 0.5  # before a restart; it doubles with each death in a row, up to
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 10.0  # A process that lives so long has started: its next death is the first one again.
DEATHS_OF_A_FAILURE = 2  # in a row: it cannot start
POLL_SECONDS = 0.1
STOP_GRACE_SECONDS = 10


class ProcessFailed(Exception):
    """A process cannot start. The text says which one, with the end of its log and where that is."""


@dataclass
class _Life:
    """Of one process: of its last start, and of the deaths before."""

    started_at: float = 0.0  # All times by the monotonic clock, in seconds.
    deaths: int = 0  # in a row, each within HEALTHY_SECONDS after its start
    end: str = ""  # how it last ended
    failed_at_once: bool = False  # It ended by itself, with an error, and has never been healthy.
    was_healthy: bool = False
    restart_at: float | None = None  # None: it runs


class Supervisor:
    """Web server, queue and reaper, and what else is given, each with a log file. Use as a context manager.

    What dies is started again, after a pause that grows while it dies in a row. Each death is a line in the process's
    own log and a warning in ours.
    """

    def __init__(
        self,
        *,
        port: int,
        log_folder: Path,
        environment: Mapping[str, str],
        further_commands: Mapping[str, list[str]] = MappingProxyType({}),
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
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
        self._lives = {name: _Life() for name in self.commands}
        self._longest_pause_seconds = longest_pause_seconds
        self.environment = {**os.environ, **environment}
        self._stopping, self._started = threading.Event(), threading.Event()
        self._start_error: OSError | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Supervisor":
        self._watcher.start()
        try:
            self._started.wait()
            if self._start_error is not None:
                raise self._start_error
        except BaseException:  # `__exit__` is not called then.
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._watcher.join()
        self._stop_all()

    def failures(self) -> dict[str, str]:
        """The processes that die again and again: name -> what to tell of it. The others go on."""
        return {name: self.told_of(name) for name, life in self._lives.items() if life.deaths >= DEATHS_OF_A_FAILURE}

    def check(self) -> None:
        """Raises ProcessFailed when a process cannot start: it dies again and again, or its very first start failed."""
        for name, life in self._lives.items():
            if life.failed_at_once or life.deaths >= DEATHS_OF_A_FAILURE:
                raise ProcessFailed(self.told_of(name))

    def told_of(self, name: str) -> str:
        """How a process last ended, the end of its log and where that is."""
        life, log = self._lives[name], self._log_of(name)
        happened = f"{name} {life.end} (deaths in a row: {life.deaths})" if life.deaths else f"{name} does not answer"
        return f"{happened}. Its log is {log} and ends with:\n{end_of(log)}"

    def _stop_all(self) -> None:
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            # To the main process alone: django-q2 hangs when its whole group gets a SIGTERM.
            process.terminate()
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))
            _kill_group(process)  # Also of one that has just ended by itself: something of its may be left.
            process.wait()

    def _start(self, name: str) -> None:
        life = self._lives[name]
        life.started_at, life.restart_at = time.monotonic(), None
        with self._log_of(name).open("ab") as log:
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
        """In a thread of its own, where no signal's handler can break off the start of a process."""
        try:
            private_folder(self.log_folder)
            for name in self.commands:
                self._start(name)
        except OSError as error:
            self._start_error = error
            return
        finally:
            self._started.set()
        while not self._stopping.wait(POLL_SECONDS):
            for name, life in self._lives.items():
                now, process = time.monotonic(), self.processes[name]
                if life.restart_at is None and process.poll() is not None:
                    _kill_group(process)
                    life.failed_at_once = process.returncode > 0 and not life.was_healthy
                    self._note_death(name, f"ended with status {process.returncode}")
                elif life.restart_at is None and now > life.started_at + HEALTHY_SECONDS:
                    life.deaths, life.was_healthy, life.failed_at_once = 0, True, False
                elif life.restart_at is not None and now >= life.restart_at:
                    try:
                        self._start(name)
                    except OSError as error:  # No room for a log, no process left.
                        self._note_death(name, f"could not be started: {error}")

    def _note_death(self, name: str, end: str) -> None:
        life, now = self._lives[name], time.monotonic()
        seconds = now - life.started_at
        life.deaths = life.deaths + 1 if seconds < HEALTHY_SECONDS else 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (life.deaths - 1), self._longest_pause_seconds)
        life.end, life.restart_at = f"{end} after {seconds:.1f} s", now + pause
        line = f"{name} {life.end}; it is started again in {pause:g} s"
        logger.warning("%s", line)
        with contextlib.suppress(OSError), self._log_of(name).open("a") as log:
            log.write(f"{OWN_LINES} {line}\n")

    def _log_of(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """What it has left behind, as systemd does, and itself if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until_listening(base_url: str, *, seconds: float, check: Callable[[], None] = lambda: None) -> None:
    """Raises TimeoutError when nothing answers at `base_url` in time. check: called meanwhile; may raise, too."""
    import httpx

    deadline = time.monotonic() + seconds
    while True:
        check()
        try:
            httpx.get(f"{base_url}/healthz", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nothing answers at {base_url}") from None
            time.sleep(0.1)
