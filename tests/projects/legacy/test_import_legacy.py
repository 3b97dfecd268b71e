"""`manage.py import_legacy`: the older service's table, as its document gives it, with what it may hold."""

import json
from urllib.parse import quote

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import Tenant, UsageEntry
from projects.models import Project
from render.models import Render
from tests.projects.steps import PROJECTS

FILM = "https://res.cloudinary.com/demo/video/upload/film.mp4"
ROWS = [
    # id ends with, user, title, status, progress, film, error, parameters
    ("01", "u1", "Finished", "finished", 100, FILM, None, {"sample_steps": 8, "seed": 7}),
    ("02", None, "Failed", "failed", 40, None, "Out of memory", None),
    ("03", "u2", "Never ended", "processing", 250, None, None, {}),
    ("04", "u2", "Finished without a film", "finished", 100, None, None, {}),
]


def uuid_of(ending: str) -> str:
    return f"00000000-0000-4000-8000-0000000000{ending}"


@pytest.fixture
def legacy(transactional_db):
    """The older database: a schema of its own, on the same server."""
    facts = connection.settings_dict
    url = f"postgresql://{facts['USER']}@{quote(facts['HOST'], safe='')}:{facts['PORT']}/{facts['NAME']}"
    with psycopg.connect(url, autocommit=True) as older:
        older.execute("CREATE SCHEMA older")
        older.execute(
            "CREATE TABLE older.projects (id UUID PRIMARY KEY, user_id TEXT, title TEXT NOT NULL, description TEXT,"
            " image_url TEXT NOT NULL, audio_url TEXT NOT NULL, prompt TEXT, call_id TEXT,"
            " status TEXT DEFAULT 'queued', progress INTEGER DEFAULT 0, video_url TEXT, error_message TEXT,"
            " parameters JSONB, created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),"
            " updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW())"
        )
        for number, row in enumerate(ROWS, 1):
            add(older, number, *row)
        try:
            yield older, url
        finally:
            older.execute("DROP SCHEMA older CASCADE")


def add(older, day, ending, user, title, status, progress, film, error, parameters) -> None:
    older.execute(
        "INSERT INTO older.projects VALUES (%s, %s, %s, 'About it', 'https://x.example/p.jpg', 'https://x.example/a.mp3',"
        " 'A person is talking.', 'fc-1', %s, %s, %s, %s, %s, %s, %s)",
        [
            uuid_of(ending), user, title, status, progress, film, error,
            None if parameters is None else json.dumps(parameters), f"2025-03-0{day}T10:00:00+02:00",
            f"2025-03-0{day}T11:00:00+02:00",
        ],
    )  # fmt: skip


def run(url: str, capsys, tenant: str = "Acme", **options) -> str:
    call_command("import_legacy", tenant, database_url=url, table="older.projects", **options)
    return capsys.readouterr().out.strip()


def test_a_client_of_the_older_service_finds_its_projects_again(legacy, alice, capsys):
    _, url = legacy

    assert run(url, capsys) == "4 imported, 0 known, 0 refused"

    shown = alice.get(f"{PROJECTS}/{uuid_of('01')}").json()
    assert (shown["status"], shown["progress"], shown["video_url"], shown["error_message"]) == (
        "finished", 100, FILM, None,
    )  # fmt: skip
    assert (shown["title"], shown["user_id"], shown["description"]) == ("Finished", "u1", "About it")
    assert shown["parameters"] == {"sample_steps": 8, "seed": 7}
    assert shown["created_at"].startswith("2025-03-01T08:00:00")
    assert shown["preview_url"] is None
    titles = [project["title"] for project in alice.get(PROJECTS).json()]
    assert titles == ["Finished without a film", "Never ended", "Failed", "Finished"]
    assert [project["title"] for project in alice.get(PROJECTS, {"user_id": "anonymous"}).json()] == ["Failed"]


def test_what_it_had_not_finished_has_failed(legacy, alice, capsys):
    run(legacy[1], capsys)

    failed, never, without = (alice.get(f"{PROJECTS}/{uuid_of(ending)}").json() for ending in ("02", "03", "04"))
    assert (failed["status"], failed["error_message"], failed["progress"]) == ("failed", "Out of memory", 40)
    assert (never["status"], never["error_message"]) == ("failed", "The older service did not finish it.")
    assert (never["progress"], without["status"], without["video_url"]) == (99, "failed", None)


def test_it_can_be_run_again_and_adds_only_what_has_come(legacy, alice, capsys):
    older, url = legacy
    run(url, capsys)
    before = list(Project.objects.order_by("pk").values())
    add(older, 9, "09", "u1", "New", "finished", 100, FILM, None, {})

    assert run(url, capsys) == "1 imported, 4 known, 0 refused"
    assert run(url, capsys) == "0 imported, 5 known, 0 refused"
    assert list(Project.objects.filter(pk__in=[row["id"] for row in before]).order_by("pk").values()) == before
    assert Render.objects.count() == Project.objects.count() == 5
    assert not UsageEntry.objects.exists()


def test_a_dry_run_only_counts(legacy, acme, capsys):
    assert run(legacy[1], capsys, dry_run=True) == "4 would be imported, 0 known, 0 refused"
    assert not Project.objects.exists()


def test_what_cannot_be_a_project_is_told_and_the_rest_goes_on(legacy, acme, charlie, capsys):
    older, url = legacy
    add(older, 8, "08", "u1", "", "finished", 100, FILM, None, {})
    Project.objects.create(id=uuid_of("01"), tenant=charlie.tenant, title="Theirs", image_url="-", audio_url="-")

    call_command("import_legacy", "Acme", database_url=url, table="older.projects")

    said = capsys.readouterr()
    assert said.out.strip() == "3 imported, 0 known, 2 refused"
    assert f"{uuid_of('08')}: it has no title" in said.err
    assert f"{uuid_of('01')}: belongs to another tenant here" in said.err


def test_it_says_what_is_missing(legacy, acme, capsys):
    with pytest.raises(CommandError, match="no tenant Nobody"):
        run(legacy[1], capsys, tenant="Nobody")
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_legacy", "Acme", database_url=legacy[1], table="older.nothing")


def test_a_film_of_the_older_service_is_rendered_anew_only_if_it_failed(legacy, alice, capsys, settings):
    settings.RENDER_ENGINES = {**settings.RENDER_ENGINES, "infinitetalk": settings.RENDER_ENGINES["stateful"]}
    run(legacy[1], capsys)

    again = alice.post(f"{PROJECTS}/{uuid_of('02')}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    assert alice.post(f"{PROJECTS}/{uuid_of('01')}/retry").status_code == 409
    assert Tenant.objects.get(name="Acme").renders.filter(state="queued").count() == 1
