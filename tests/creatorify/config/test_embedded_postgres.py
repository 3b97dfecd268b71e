import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import ROOT

PROGRAM = """
import os, signal, sys
from pathlib import Path
from creatorify.config import embedded_postgres
import psycopg
url = embedded_postgres.start_or_find(Path(sys.argv[1]))
with psycopg.connect(url) as connection:
    print(connection.info.dbname, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def data_directory(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    for parent in (folder, *list(folder.parents)[:2]):
        os.chmod(parent, 0o755)  # Started by root, the server runs as another user.
    return folder / "postgres"


def use(data_directory: Path, end: str) -> str:
    run = subprocess.run([sys.executable, "-c", PROGRAM, data_directory, end], capture_output=True, text=True)
    return run.stdout.strip()


def server_is_running(data_directory: Path) -> bool:
    pid = data_directory / "postmaster.pid"
    return pid.exists() and psutil.pid_exists(int(pid.read_text().split()[0]))


def test_it_stops_with_its_last_user_even_if_another_was_killed(data_directory: Path) -> None:
    assert use(data_directory, "killed") == "creatorify"
    assert server_is_running(data_directory)

    assert use(data_directory, "orderly") == "creatorify"

    assert not server_is_running(data_directory)


def manage(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "creatorify.settings", "VAR_DIR": str(var)}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command", [["help"], ["check"], ["spectacular", "--file", os.devnull], ["database_roles", "app"]]
)
def test_a_command_that_opens_no_connection_starts_no_server(data_directory: Path, command: list[str]) -> None:
    run = manage(data_directory.parent, *command)

    assert run.returncode == 0, run.stderr
    assert not data_directory.exists()


def test_importing_the_settings_starts_no_server(data_directory: Path) -> None:
    program = "from creatorify import settings; print(settings.EMBEDDED_POSTGRES)"
    environment = {**os.environ, "VAR_DIR": str(data_directory.parent)}
    environment.pop("DATABASE_URL", None)

    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == str(data_directory)
    assert not data_directory.exists()


def test_the_first_connection_starts_the_server_and_the_end_of_the_command_stops_it(data_directory: Path) -> None:
    count = "from django.db import connection as c; k = c.cursor(); k.execute('SELECT current_database()'); "
    run = manage(data_directory.parent, "shell", "-v", "0", "-c", count + "print(k.fetchone()[0])")

    assert (run.returncode, run.stdout) == (0, "creatorify\n"), run.stderr
    assert (data_directory / "PG_VERSION").exists()
    assert not server_is_running(data_directory)


def test_a_server_that_does_not_start_is_one_sentence(data_directory: Path) -> None:
    data_directory.write_text("not a folder")

    for command in (["migrate"], ["qcluster"]):
        run = manage(data_directory.parent, *command)

        assert run.returncode == 1
        assert run.stderr.startswith(f"The embedded Postgres in {data_directory} does not start: "), run.stderr
        assert "Traceback" not in run.stderr
