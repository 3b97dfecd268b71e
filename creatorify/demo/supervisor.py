"""Runs the service's processes on one machine and restarts those that end, as systemd does in production."""

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

import httpx

from creatorify.logs.log_file import OWN_LINES, end_of
from render.storage.private_folder import private_folder

logger = logging.getLogger(__name__)

BASE_DIR = Path(__file__).resolve().parents[2]
FIRST_PAUSE_SECONDS = 0.5  # before a restart; each death in a row doubles it, up to the longest
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 10.0  # A process that runs so long has started: its next death is the first in a row.
DEATHS_OF_A_FAILURE = 2  # So many deaths in a row: the process cannot start.
POLL_SECONDS = 0.1
STOP_GRACE_SECONDS = 10


class ProcessFailed(Exception):
    """A process cannot start. The text says which one, with the end of its log and where that is."""


@dataclass
class _ProcessState:
    """All times are seconds of the monotonic clock."""

    started_at: float = 0.0
    deaths: int = 0  # in a row, each within HEALTHY_SECONDS after its start
    end: str = ""  # how it last ended
    failed_at_once: bool = False  # It ended with an error and has never been healthy.
    was_healthy: bool = False
    restart_at: float | None = None  # None: it runs


class Supervisor:
    """Runs web server, queue and reaper, and further commands, each with a log file. Use as a context manager.

    A process that ends is started again, after a pause that grows while it ends soon after its starts. Each death is a
    line in the process's log and a warning in the log of this process.
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
        """environment: added to that of this process. further_commands: by name; they may replace one of the three."""
        python = sys.executable
        self.commands = {
            "web": [python, "-m", "creatorify.web", f"--port={port}"],
            # Where both use the same cores, requests come before videos.
            "queue": ["nice", "-n", "5", python, "manage.py", "qcluster"],
            "reaper": [python, "manage.py", "reaper"],
            **further_commands,
        }
        self.base_url = f"http://127.0.0.1:{port}"
        self.log_folder = log_folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._states = {name: _ProcessState() for name in self.commands}
        self._longest_pause_seconds = longest_pause_seconds
        # Links in webhook messages have no request whose host they could begin with.
        self.environment = {"PUBLIC_URL": self.base_url, **os.environ, **environment}
        self._stopping, self._started = threading.Event(), threading.Event()
        self._start_error: OSError | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Supervisor":
        self._watcher.start()
        try:
            self._started.wait()
            if self._start_error is not None:
                raise self._start_error
        except BaseException:  # Python does not call `__exit__` after an error here.
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._watcher.join()
        self._stop_all()

    def failures(self) -> dict[str, str]:
        """The processes that die again and again: name -> its description. The others go on."""
        failed = [name for name, state in self._states.items() if state.deaths >= DEATHS_OF_A_FAILURE]
        return {name: self.describe(name) for name in failed}

    def check(self) -> None:
        """Raises ProcessFailed if a process cannot start: it dies again and again, or its very first start failed."""
        for name, state in self._states.items():
            if state.failed_at_once or state.deaths >= DEATHS_OF_A_FAILURE:
                raise ProcessFailed(self.describe(name))

    def describe(self, name: str) -> str:
        """How a process last ended, the end of its log and where that is."""
        state, log = self._states[name], self._log_of(name)
        end = f"{name} {state.end} (deaths in a row: {state.deaths})" if state.deaths else f"{name} does not answer"
        return f"{end}. Its log is {log} and ends with:\n{end_of(log)}"

    def _stop_all(self) -> None:
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            # To the main process only: django-q2 hangs if its whole group gets a SIGTERM.
            process.terminate()
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))
            _kill_group(process)  # also if it has ended: children of it may be left
            process.wait()

    def _start(self, name: str) -> None:
        state = self._states[name]
        state.started_at, state.restart_at = time.monotonic(), None
        with self._log_of(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name],
                cwd=BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own process group: Ctrl-C does not reach it, and it can be killed together with its children.
                start_new_session=True,
            )

    def _watch(self) -> None:
        """Runs in a thread, because a signal handler in the main thread could interrupt the start of a process."""
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
            for name, state in self._states.items():
                self._look_at(name, state)

    def _look_at(self, name: str, state: _ProcessState) -> None:
        now, process = time.monotonic(), self.processes[name]
        if state.restart_at is None and process.poll() is not None:
            _kill_group(process)
            state.failed_at_once = process.returncode > 0 and not state.was_healthy
            self._record_death(name, f"ended with status {process.returncode}")
        elif state.restart_at is None and now > state.started_at + HEALTHY_SECONDS:
            state.deaths, state.was_healthy, state.failed_at_once = 0, True, False
        elif state.restart_at is not None and now >= state.restart_at:
            try:
                self._start(name)
            except OSError as error:  # no space for a log, or no process left
                self._record_death(name, f"could not be started: {error}")

    def _record_death(self, name: str, end: str) -> None:
        state, now = self._states[name], time.monotonic()
        seconds = now - state.started_at
        state.deaths = state.deaths + 1 if seconds < HEALTHY_SECONDS else 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (state.deaths - 1), self._longest_pause_seconds)
        state.end, state.restart_at = f"{end} after {seconds:.1f} s", now + pause
        line = f"{name} {state.end}; it is started again in {pause:g} s"
        logger.warning("%s", line)
        with contextlib.suppress(OSError), self._log_of(name).open("a") as log:
            log.write(f"{OWN_LINES} {line}\n")

    def _log_of(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, as systemd does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _do_nothing() -> None:
    pass


def wait_until_listening(base_url: str, *, seconds: float, check: Callable[[], None] = _do_nothing) -> None:
    """Raises TimeoutError if nothing answers at `base_url` in time. check: called meanwhile; may raise, too."""
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
