"""`make demo` where something cannot start: it says what, shows the end of its log, ends with 1 and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from creatorify.config import embedded_postgres
from tests.service.demo_process import ROOT, left_of, start, var  # noqa: F401

LIMIT_SECONDS = 90  # It takes up to 30 on a machine that does nothing else.
can_mount = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
needs_root = pytest.mark.skipif(not can_mount, reason="only root may mount a small file system")


def said_by(demo: subprocess.Popen[str]) -> str:
    try:
        said, _ = demo.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        demo.terminate()
        said, _ = demo.communicate()
        pytest.fail(f"It did not end: {said}")
    assert demo.returncode == 1, said
    assert "Traceback (most recent call last)" not in said.split("ends with:")[0], said
    return said


@pytest.mark.slow
@needs_root
def test_a_queue_without_shared_memory(var: Path) -> None:  # noqa: F811
    said = said_by(start(var, mount="mount -t tmpfs -o ro tmpfs /dev/shm"))

    assert "The service does not start: queue ended with status 1" in said
    assert f"Its log is {var}/demo/logs/queue.log and ends with:" in said
    assert "    OSError: [Errno 30] Read-only file system" in said


@needs_root
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("size=4m", "The embedded Postgres in "),
        pytest.param("size=60m", "This machine cannot work: ", marks=pytest.mark.slow),
        ("ro", "Read-only file system"),
    ],
    ids=["no room for a database", "no room for renders", "read-only"],
)
def test_a_full_disk(var: Path, options: str, told: str) -> None:  # noqa: F811
    assert told in said_by(start(var, mount=f"mount -t tmpfs -o {options} tmpfs {var}"))


@needs_root
def test_a_folder_that_has_become_read_only(var: Path) -> None:  # noqa: F811
    made(var / "postgres")
    (var / "postgres" / "log").write_text("of an earlier start")
    (var / "secret_key").write_text("x" * 50)  # It is made before the database is looked at.

    said = said_by(start(var, mount=f"mount --bind {var} {var} && mount -o remount,ro,bind {var}"))

    assert "Read-only file system" in said
    assert "of an earlier start" not in said


def garbage(folder: Path) -> None:
    folder.mkdir()
    (folder / "garbage").write_text("x")


def no_version(folder: Path) -> None:
    folder.mkdir()
    (folder / "PG_VERSION").write_text("x")


def other_version(folder: Path) -> None:
    folder.mkdir()
    (folder / "PG_VERSION").write_text("9")


def a_file(folder: Path) -> None:
    folder.write_text("x")


def torn(folder: Path) -> None:
    made(folder)
    (folder / "global" / "pg_control").unlink()


def another_owner(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    made(folder)
    for path in (folder / "base", folder / "global", folder / "postgresql.conf"):
        os.chown(path, 12345, 12345)
        path.chmod(0o700)


def made(folder: Path) -> str:
    """A whole database, whose server is then stopped."""
    program = "import sys; from pathlib import Path; from creatorify.config import embedded_postgres as e;"
    program += "print(e.start_or_find(Path(sys.argv[1])))"
    run = subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("damage", [garbage, no_version, other_version, a_file, torn, another_owner])
def test_a_broken_database_folder(var: Path, damage: Callable[[Path], None]) -> None:  # noqa: F811
    damage(var / "postgres")
    log = var / "postgres" / "log"
    before = log.read_text() if log.exists() else ""

    said = said_by(start(var))

    assert said.splitlines()[1].startswith(f"The embedded Postgres in {var}/postgres does not start: ")
    # Of this start, or nothing at all: what an earlier one has logged would only lead astray.
    logged = log.read_text() if log.is_file() else ""
    assert (f"Its log is {log} and ends with:" in said) == (logged != before)


def test_migrations_that_fail(var: Path) -> None:  # noqa: F811
    url = embedded_postgres.start_or_find(var / "postgres")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE accounts_plan (id int)")

    said = said_by(start(var))

    assert "The database cannot be migrated: " in said and "accounts_plan" in said
    embedded_postgres.PostgresServer._instances[var / "postgres"].cleanup()


def test_a_lock_of_a_server_that_is_gone_is_no_hindrance(var: Path) -> None:  # noqa: F811
    """After a crash of the machine its number may be another program's, or the file be empty."""
    folder = var / "postgres"
    url = made(folder)
    for content in (f"{os.getpid()}\n{folder}\n1\n5432\n{folder}\n\n1 1\nready\n", "", f"{os.getpid()}\n", "4194304\n"):
        (folder / "postmaster.pid").write_text(content)
        assert made(folder) == url


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["initdb", "postgres", "nice"])
def test_ended_by_a_signal_it_leaves_nothing(var: Path, number: signal.Signals, moment: str) -> None:  # noqa: F811
    """moment: the program that has just been started. `nice` is the queue, whose name it has for a moment."""
    demo = start(var)
    deadline = time.monotonic() + LIMIT_SECONDS
    logs = var / "demo" / "logs" / "queue.log"
    while not (moment in left_of(var) or (moment == "nice" and logs.exists())):
        assert demo.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)

    demo.send_signal(number)
    said, _ = demo.communicate(timeout=LIMIT_SECONDS)

    assert demo.returncode == (130 if number == signal.SIGINT else 143), said
