"""What a service on this machine needs before its processes start: a migrated database and a free port."""

import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.db import DatabaseError

from creatorify.logs.log_file import end_of


def exit_on_signals(interrupt_status: Callable[[], int]) -> None:
    """At SIGTERM or Ctrl-C exit in order, so that a Supervisor in a `with` statement stops its processes.

    interrupt_status: gives the exit status after Ctrl-C; it is 143 after SIGTERM.
    """

    def exit_once(status: int) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # A second signal must not interrupt the stop of the processes.
        sys.exit(status)

    signal.signal(signal.SIGTERM, lambda *_: exit_once(143))
    signal.signal(signal.SIGINT, lambda *_: exit_once(interrupt_status()))


def migrate() -> None:
    """Raises CommandError, with the end of the embedded server's log if that is the database."""
    try:
        call_command("migrate", verbosity=0)
    except DatabaseError as error:
        log_end = ""
        if settings.EMBEDDED_POSTGRES:
            log = settings.EMBEDDED_POSTGRES / "log"
            log_end = f"\nIts log is {log} and ends with:\n{end_of(log)}"
        raise CommandError(f"The database cannot be migrated: {str(error).strip()}{log_end}") from error


def free_port(preferred: int, output: OutputWrapper) -> int:
    """`preferred` if a server can listen there, else any free port, which is then printed. Raises CommandError."""
    for port in (preferred, 0):  # 0: the system chooses one
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                reason = error.strerror
                continue
            chosen: int = probe.getsockname()[1]
        if port == 0:
            output.write(f"Port {preferred} cannot be used ({reason}): the service uses port {chosen} instead.")
        return chosen
    raise CommandError("No free port")
