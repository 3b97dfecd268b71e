import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROGRAM = """
import os, signal, sys
from pathlib import Path
from creatorify import embedded_postgres
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
