"""The supervisor with real processes: restarts that wait longer each time, and what is told of them."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from creatorify.demo import supervisor
from creatorify.demo.supervisor import ProcessFailed, Supervisor, wait_until_listening
from tests import ROOT

SLEEP = ["sleep", "1000"]
DIES = ["sh", "-c", "echo the disk is on fire; exit 3"]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def supervised(folder: Path, *, longest_pause_seconds: float = 30, **commands: list[str]) -> Supervisor:
    """`commands` in place of the service's own."""
    return Supervisor(
        port=8449,
        log_folder=folder / "logs",
        environment={},
        further_commands={"web": SLEEP, "queue": SLEEP, "reaper": SLEEP, **commands},
        longest_pause_seconds=longest_pause_seconds,
    )


def pauses(folder: Path, name: str) -> list[str]:
    lines = (folder / "logs" / f"{name}.log").read_text().splitlines()
    return [line.rsplit(" in ", 1)[1] for line in lines if line.startswith("supervisor:")]


def test_a_process_that_dies_at_once_is_started_again_ever_later(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    with supervised(tmp_path, longest_pause_seconds=0.4, queue=DIES) as service:
        until(lambda: len(pauses(tmp_path, "queue")) >= 6)
        web = service.processes["web"]
        assert web.poll() is None

    assert pauses(tmp_path, "queue")[:6] == ["0.05 s", "0.1 s", "0.2 s", "0.4 s", "0.4 s", "0.4 s"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told[0].startswith("queue ended with status 3 after 0.")
    assert len(told) >= 6 and all(line.startswith("queue") for line in told)


def test_the_first_restart_comes_soon_and_a_healthy_while_makes_it_the_first_again(tmp_path, monkeypatch) -> None:
    assert supervisor.FIRST_PAUSE_SECONDS == 0.5
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "HEALTHY_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    with supervised(tmp_path) as service:
        state = service._states["queue"]
        for _ in range(3):
            process = service.processes["queue"]
            until(lambda: state.was_healthy and state.deaths == 0)
            process.kill()
            until(lambda process=process: service.processes["queue"] is not process)
        assert service.failures() == {}
        service.check()

    assert pauses(tmp_path, "queue") == ["0.05 s"] * 3


def test_a_process_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path) -> None:
    with supervised(tmp_path, queue=DIES) as service:
        until(lambda: service._states["queue"].deaths)
        with pytest.raises(ProcessFailed) as failed:
            service.check()
        until(service.failures)
        assert list(service.failures()) == ["queue"]

    told = str(failed.value)
    assert told.startswith("queue ended with status 3 after ")
    assert f"{tmp_path}/logs/queue.log" in told
    assert told.endswith("\n    the disk is on fire")


def test_one_that_was_killed_once_can_start(tmp_path) -> None:
    with supervised(tmp_path) as service:
        service.processes["queue"].kill()
        until(lambda: service._states["queue"].deaths)
        service.check()


def test_a_taken_port_is_told_though_somebody_answers_there(tmp_path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as taken:
        Thread(target=taken.serve_forever, daemon=True).start()
        port = taken.server_port
        web = Supervisor(port=port, log_folder=tmp_path, environment={}).commands["web"]
        environment = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "VAR_DIR": str(tmp_path / "var")}
        others = {"web": web, "queue": SLEEP, "reaper": SLEEP}
        service = Supervisor(port=port, log_folder=tmp_path / "logs", environment=environment, further_commands=others)
        with service, pytest.raises(ProcessFailed, match="(?s)web ended with status.*in use"):
            wait_until_listening(service.base_url, seconds=90, check=service.check)
        taken.shutdown()


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_is_left_running(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE_SECONDS", 0.5)
    deaf = ["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1001; sleep 1002"]
    with supervised(tmp_path, queue=deaf, reaper=["sh", "-c", "sleep 1003 & echo $!; exit 1"]) as service:
        until(lambda: len(psutil.Process(service.processes["queue"].pid).children()) == 2)
        until(lambda: service._states["reaper"].deaths)
        pids = [process.pid for process in service.processes.values()]
        pids += [child.pid for child in psutil.Process(service.processes["queue"].pid).children(recursive=True)]

    orphans = [int(line) for line in (tmp_path / "logs" / "reaper.log").read_text().splitlines() if line.isdigit()]
    assert len(pids) >= 4 and len(orphans) >= 1
    until(lambda: not [pid for pid in [*pids, *orphans] if lives(pid)])


def test_a_command_that_is_not_there_ends_the_others(tmp_path) -> None:
    before = {child.pid for child in psutil.Process().children()}

    with pytest.raises(FileNotFoundError), supervised(tmp_path, late=["/no/such/program"]):
        pass

    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_log_that_cannot_be_written_is_no_end_of_the_supervisor(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.05)
    with supervised(tmp_path) as service:
        log = tmp_path / "logs" / "queue.log"
        log.unlink()
        log.mkdir()
        service.processes["queue"].kill()
        until(lambda: service._states["queue"].deaths >= 2)
        log.rmdir()
        until(lambda: service.processes["queue"].poll() is None)


def test_a_queue_whose_processes_die_at_once_ends() -> None:
    """So that its supervisor, which tells of it, waits longer each time: here a sentinel that ends itself."""
    program = """
import os
from render.cluster import hardening
hardening.RESTART_SECONDS = 0.01
class Cluster:
    def start(self):
        import multiprocessing
        self.sentinel = multiprocessing.get_context("fork").Process(target=os._exit, args=(7,))
        self.sentinel.start()
        return os.getpid()
hardening._restarting(Cluster)().start()
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr.count("new ones start")) == (70, 5), run.stderr
