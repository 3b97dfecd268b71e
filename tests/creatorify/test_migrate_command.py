"""Two `manage.py migrate` on one new database: one waits for the other."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from creatorify.management.commands.migrate import LOCK
from tests.postgres import fresh_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db
def test_it_waits_for_the_one_at_work() -> None:
    with fresh_database("migrated") as database:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database.url()}
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        with psycopg.connect(database.url(), autocommit=True) as at_work:
            at_work.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            runs = [
                subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
                for _ in range(2)
            ]
            waiting = (
                f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' AND query LIKE '%try_adv%'"
            )
            while at_work.execute(waiting).fetchone()[0] < 3:  # This session's own query is one of them.
                assert all(run.poll() is None for run in runs)
            assert at_work.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,)
        for run in runs:
            _, said = run.communicate(timeout=100)
            assert (run.returncode, said) == (0, "Another migrate is at work on this database: waiting for its end.\n")
        assert database.rows("SELECT count(*) FROM accounts_plan") == [(0,)]
