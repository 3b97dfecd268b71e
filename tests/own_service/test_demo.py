"""`make demo` where something cannot start: it says what, shows the end of its log, ends with 1 and leaves nothing."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from creatorify.config import embedded_postgres
from creatorify.config.errors import CannotStart
from tests.own_service.demo_process import left_of, start, var  # noqa: F401

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
def test_a_folder_that_has_become_read_only(var: Path, whole: Path) -> None:  # noqa: F811
    copied(whole, var / "postgres")
    (var / "postgres" / "log").write_text("of an earlier start")
    (var / "secret_key").write_text("x" * 50)  # It is made before the database is looked at.

    said = said_by(start(var, mount=f"mount --bind {var} {var} && mount -o remount,ro,bind {var}"))

    assert "Read-only file system" in said
    assert "of an earlier start" not in said


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """The folder of a whole database, whose server was stopped."""
    with tempfile.TemporaryDirectory(prefix="creatorify-whole-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "postgres"
        embedded_postgres.start_or_find(folder)
        stop(folder)
        yield folder


def stop(folder: Path) -> None:
    """The server of this folder, and wait until it has ended."""
    embedded_postgres.PostgresServer._instances[folder].cleanup()


def copied(whole: Path, folder: Path) -> None:
    subprocess.run(["cp", "-a", str(whole), str(folder)], check=True)  # with the owners, unlike shutil


def garbage(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "garbage").write_text("x")


def no_version(folder: Path) -> None:
    (folder / "PG_VERSION").write_text("x")


def other_version(folder: Path) -> None:
    (folder / "PG_VERSION").write_text("9")


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def torn(folder: Path) -> None:
    (folder / "global" / "pg_control").unlink()


def another_owner(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    for path in (folder / "base", folder / "global", folder / "postgresql.conf"):
        os.chown(path, 12345, 12345)
        path.chmod(0o700)


@pytest.mark.parametrize("damage", [garbage, no_version, other_version, a_file, torn, another_owner])
def test_a_broken_database_folder(var: Path, whole: Path, damage: Callable[[Path], None], monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("VAR_DIR", str(var))  # By which what is left running is found.
    copied(whole, var / "postgres")
    damage(var / "postgres")
    log = var / "postgres" / "log"
    before = log.read_text() if log.exists() else ""

    with pytest.raises(CannotStart) as failed:
        embedded_postgres.start_or_find(var / "postgres")

    assert str(failed.value).startswith(f"The embedded Postgres in {var}/postgres does not start: ")
    # Of this start, or nothing at all: what an earlier one has logged would only lead astray.
    logged = log.read_text() if log.is_file() else ""
    assert (f"Its log is {log} and ends with:" in str(failed.value)) == (logged != before)


def test_a_demo_says_what_is_wrong_with_its_database_folder(var: Path, whole: Path) -> None:  # noqa: F811
    copied(whole, var / "postgres")
    torn(var / "postgres")

    said = said_by(start(var))

    assert said.splitlines()[1].startswith(f"The embedded Postgres in {var}/postgres does not start: ")
    assert f"Its log is {var}/postgres/log and ends with:" in said


def test_migrations_that_fail(var: Path, whole: Path) -> None:  # noqa: F811
    copied(whole, var / "postgres")
    with psycopg.connect(embedded_postgres.start_or_find(var / "postgres")) as connection:
        connection.execute("CREATE TABLE accounts_plan (id int)")

    said = said_by(start(var))

    assert "The database cannot be migrated: " in said and "accounts_plan" in said
    stop(var / "postgres")


def test_a_lock_of_a_server_that_is_gone_is_no_hindrance(var: Path, whole: Path) -> None:  # noqa: F811
    """After a crash of the machine its number may be another program's, or the file be empty."""
    folder = var / "postgres"
    copied(whole, folder)
    for content in (f"{os.getpid()}\n{folder}\n1\n5432\n{folder}\n\n1 1\nready\n", "", f"{os.getpid()}\n", "4194304\n"):
        (folder / "postmaster.pid").write_text(content)
        with psycopg.connect(embedded_postgres.start_or_find(folder)) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (embedded_postgres.DATABASE,)
        stop(folder)


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
