"""`manage.py migrate`: two on one new database, and databases that were made before version 0.2."""

import os
import subprocess
import sys

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader

from creatorify.management.commands.migrate import LOCK
from tests import ROOT
from tests.postgres import fresh_database


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


@pytest.mark.django_db
def test_a_database_made_before_version_0_2_goes_on_working() -> None:
    with fresh_database("older") as database:
        database.manage("migrate", "--verbosity=0")
        database.run([MADE_BEFORE])
        with psycopg.connect(database.url(), autocommit=True) as session:
            session.cursor().executemany(
                "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now())", replaced_migrations()
            )

        assert "render.0002_priority_has_default... OK" in database.manage("migrate")

        assert database.manage("migrate", "--check") == ""
        database.run([RENDER])
        assert database.rows("SELECT priority FROM render_render") == [(0,)]


@pytest.mark.django_db
def test_half_of_the_older_migrations_are_refused() -> None:
    with fresh_database("half") as database:
        half = [key for key in replaced_migrations() if key != ("render", "0016_unloadable_since")]
        database.run(["CREATE TABLE django_migrations (id int, app text, name text, applied timestamptz)"])
        with psycopg.connect(database.url(), autocommit=True) as session:
            session.cursor().executemany("INSERT INTO django_migrations VALUES (1, %s, %s, now())", half)

        done = subprocess.run(
            [sys.executable, "manage.py", "migrate"],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database.url()},
            capture_output=True,
            text=True,
        )

        assert done.returncode == 1
        assert "Run `manage.py migrate` of version 0.1.0 first" in done.stderr
        assert done.stderr.endswith("Lacking: render.0016_unloadable_since\n")
