"""`make dev`: the service with Django's DEBUG, its logs on the terminal, restarted whenever a source file changes."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.core.management.base import OutputWrapper

from creatorify.config.start import start_database
from creatorify.demo import account
from creatorify.demo.preparation import exit_on_signals, free_port, migrate
from creatorify.demo.supervisor import Supervisor
from render.storage.private_folder import private_folder

WATCHED_FOLDERS = ("accounts", "creatorify", "projects", "render", "templates")
WATCHED_SUFFIXES = (".py", ".html")
POLL_SECONDS = 0.5


def run(*, port: int, output: OutputWrapper) -> None:
    """Until Ctrl-C. Migrations that are written meanwhile are not applied: run `manage.py migrate`."""
    exit_on_signals(lambda: 0)
    folder = private_folder(settings.VAR_DIR / "dev")
    migrate()
    port = free_port(port, output)
    secrets = private_folder(settings.VAR_DIR / "demo")  # The demo has the same database: its key and its user serve.
    plain_key = account.api_key(secrets / "api_key")
    password = account.admin_password(secrets / "admin_password")
    environment = {"DATABASE_URL": start_database(), "DEBUG": "true"}
    while True:
        with Supervisor(port=port, log_folder=folder / "logs", environment=environment) as service:
            logs = [_Log(name, folder / "logs" / f"{name}.log") for name in service.commands]
            output.write(
                f"API docs {service.base_url}/api/docs/, API key {plain_key}\n"
                f"Admin {service.base_url}/admin/, user {account.USER}, password {password}\n"
                "Ctrl-C ends the service."
            )
            first = _modification_times()
            while _modification_times() == first:
                time.sleep(POLL_SECONDS)
                for log in logs:
                    log.print_new(output)
        output.write("Source files have changed: the service is started again.")


@dataclass
class _Log:
    """The log file of one process, from its present end on."""

    name: str
    path: Path
    _offset: int = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self.path.stat().st_size if self.path.exists() else 0

    def print_new(self, output: OutputWrapper) -> None:
        """Print the whole lines that have been added since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(lines) + len(newline)
        for line in lines.decode(errors="replace").splitlines():
            output.write(f"{self.name:<6} {line}")


def _modification_times() -> dict[Path, int]:
    """Of all source files that the service loads, in nanoseconds."""
    times = {}
    for folder in WATCHED_FOLDERS:
        for path in (settings.BASE_DIR / folder).rglob("*"):
            if path.suffix in WATCHED_SUFFIXES:
                try:
                    times[path] = path.stat().st_mtime_ns
                except FileNotFoundError:  # An editor replaces a file in two steps.
                    continue
    return times
