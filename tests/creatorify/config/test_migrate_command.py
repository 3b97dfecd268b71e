"""`manage.py migrate` on databases that were made before version 0.2, once by two processes at the same time."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db.migrations.loader import MigrationLoader

from creatorify.management.commands.migrate import LOCK
from tests import ROOT
from tests.postgres import Database, connected_to, fresh_database

# What the migrations before version 0.2 left: their names, and a column that renders no longer have.
MADE_BEFORE = """
    DELETE FROM django_migrations WHERE app IN ('accounts', 'projects', 'render');
    ALTER TABLE render_render ADD COLUMN priority smallint NOT NULL;
"""
RENDER = """
    INSERT INTO accounts_plan (name, monthly_seconds, currency, max_concurrent, max_queued, max_audio_seconds,
        requests_per_minute, creates_per_minute, weight, prices, retention_days)
    VALUES ('p', 1, 'USD', 1, 1, 1, 1, 1, 1, '{}', 1);
    INSERT INTO accounts_tenant (id, name, plan_id) SELECT gen_random_uuid(), 't', id FROM accounts_plan;
    INSERT INTO render_render (id, tenant_id, engine, queue, image_url, audio_url, audio_url_2, audio_order, prompt,
        parameters, test_scenario, state, phase, progress, attempt, crashes, failures, video_key, poster_key,
        error_code, error_message, error_param, error_trace)
    SELECT gen_random_uuid(), id, 'e', 'cpu', '', '', '', '', '', '{}', '', 'queued', 'prepare', 0, 0, 0, 0, '', '',
        '', '', '', '' FROM accounts_tenant;
"""


def replaced_migrations() -> list[tuple[str, str]]:
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    return [old for migration in loader.disk_migrations.values() for old in migration.replaces]


@pytest.fixture
def older(django_db_setup, django_db_blocker) -> Iterator[Database]:
    """A database made before version 0.2."""
    with django_db_blocker.unblock(), fresh_database("older", migrated=True) as database:
        with connected_to(database):
            for app in ("projects", "render", "accounts"):
                call_command("migrate", app, "0001", verbosity=0)
        database.run([MADE_BEFORE])
        with psycopg.connect(database.url(), autocommit=True) as session:
            session.cursor().executemany(
                "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now())", replaced_migrations()
            )
        yield database


def test_each_waits_for_the_one_at_work_and_an_older_database_goes_on_working(older: Database) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": older.url()}
    pipe, done = subprocess.PIPE, "SELECT count(*) FROM django_migrations WHERE name = '0002_priority_has_default'"
    with psycopg.connect(older.url(), autocommit=True) as at_work:
        at_work.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        runs = [
            subprocess.Popen(
                [sys.executable, "manage.py", "migrate"], cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
            )
            for _ in range(2)
        ]
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{older.name}' AND query LIKE '%try_adv%'"
        while at_work.execute(waiting).fetchone()[0] < 3:  # This session's own query is one of them.
            assert all(run.poll() is None for run in runs)
            time.sleep(0.05)
        assert at_work.execute(done).fetchone() == (0,)
    said = [run.communicate(timeout=100) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], said
    told = "Another migrate is at work on this database: waiting for its end.\n"
    assert [errors for _, errors in said] == [told, told]
    assert sorted("render.0002_priority_has_default... OK" in output for output, _ in said) == [False, True]
    with connected_to(older):
        call_command("migrate", "--check")  # It would exit with 1.
    older.run([RENDER])
    assert older.rows("SELECT priority FROM render_render") == [(0,)]


def test_half_of_the_older_migrations_are_refused(django_db_setup, django_db_blocker) -> None:
    with django_db_blocker.unblock(), fresh_database("half") as database:
        half = [key for key in replaced_migrations() if key != ("render", "0016_unloadable_since")]
        database.run(["CREATE TABLE django_migrations (id int, app text, name text, applied timestamptz)"])
        with psycopg.connect(database.url(), autocommit=True) as session:
            session.cursor().executemany("INSERT INTO django_migrations VALUES (1, %s, %s, now())", half)

        with connected_to(database), pytest.raises(CommandError) as refused:
            call_command("migrate")

        assert "Run `manage.py migrate` of version 0.1.0 first" in str(refused.value)
        assert str(refused.value).endswith("Lacking: render.0016_unloadable_since")
        assert database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(1,)]
