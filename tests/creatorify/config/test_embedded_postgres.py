import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from creatorify.config import embedded_postgres
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


HOLDER = """
from creatorify.config.embedded_postgres import PostgresServer
PostgresServer._lock.acquire()
print("starting", flush=True)
input()
"""


def test_the_file_of_a_start_in_another_process_stays(data_directory: Path) -> None:
    """`initdb` writes one, too, with a number that is no process's. Of a process that has died it is removed."""
    data_directory.mkdir()
    (data_directory / "postmaster.pid").write_text("-12345\n")
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"starting\n"

        with pytest.raises(TimeoutError):
            embedded_postgres._remove_stale_lock(data_directory, time.monotonic() + 0.2)

        assert (data_directory / "postmaster.pid").exists()
        other.kill()
    embedded_postgres._remove_stale_lock(data_directory, time.monotonic() + 60)
    assert not (data_directory / "postmaster.pid").exists()


def manage(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "creatorify.settings", "VAR_DIR": str(var)}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


# One process for all of it, since each takes a second to load Django.
COMMANDS = """
import os, sys
import manage
from creatorify import settings

def told(step):
    print("#", step, (settings.EMBEDDED_POSTGRES / "postmaster.pid").exists())

told("settings")
for command in (["help"], ["check"], ["spectacular", "--file", os.devnull], ["database_roles", "app"]):
    sys.argv = ["manage.py", *command]
    manage.main()
    told(command[0])
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT current_database()")
    told(cursor.fetchone()[0])
print("#", settings.EMBEDDED_POSTGRES)
"""


def test_the_first_connection_starts_the_server_and_the_end_of_the_process_stops_it(data_directory: Path) -> None:
    """Neither the settings nor a command that opens no connection starts it."""
    run = manage(data_directory.parent, "-c", COMMANDS)

    assert run.returncode == 0, run.stderr
    assert [line for line in run.stdout.splitlines() if line.startswith("# ")] == [
        "# settings False",
        "# help False",
        "# check False",
        "# spectacular False",
        "# database_roles False",
        "# creatorify True",
        f"# {data_directory}",
    ]
    assert (data_directory / "PG_VERSION").exists()
    assert not server_is_running(data_directory)


def test_a_server_that_does_not_start_is_one_sentence(data_directory: Path) -> None:
    data_directory.write_text("not a folder")

    for command in ("migrate", "qcluster"):
        run = manage(data_directory.parent, "manage.py", command)

        assert run.returncode == 1
        assert run.stderr.startswith(f"The embedded Postgres in {data_directory} does not start: "), run.stderr
        assert "Traceback" not in run.stderr
