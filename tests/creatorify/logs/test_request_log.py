"""The log of the web process: each request's id is in it, and no request can forge, flood or leak."""

import io
import logging
import re

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from accounts.models import ApiKey, Scope
from creatorify.logs import line_formatter
from tests.projects.steps import NEW, PROJECTS, create

pytestmark = pytest.mark.django_db
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.-]+ (req_[0-9a-f]{32}|-) "
)


@pytest.fixture
def log():
    """What a handler writes that is made as the settings say."""
    config = settings.LOGGING
    assert config["handlers"]["console"]["filters"] == ["request_id"]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    formatter, found = config["formatters"]["plain"], config["filters"]["request_id"]
    handler.setFormatter(import_string(formatter["()"])(formatter["format"], style=formatter["style"]))
    handler.addFilter(import_string(found["()"])())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def lines(log: io.StringIO) -> list[str]:
    return log.getvalue().split("\n")[:-1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/v1/nothing", 404),
        ("get", "/api/v1/projects", 200),
        ("post", "/api/v1/projects", 422),
        ("get", "/api/v1/projects/1", 404),
        ("put", "/api/v1/projects", 405),
        ("get", "/api/docs", 200),
        ("get", "/media/film.mp4", 403),
        ("get", "/admin/", 302),
    ],
)
def test_the_id_of_each_answer_is_in_the_log(alice, charlie, log, method, path, status) -> None:
    charlie.get("/api/v1/usage")
    answer = getattr(alice, method)(f"{path}?signature=0123456789")

    [line] = [line for line in lines(log) if answer["Request-Id"] in line]
    assert answer.status_code == status
    assert f" {method.upper()} {path} {status} " in line
    assert (" WARNING " in line) is (status >= 400)
    assert "0123456789" not in log.getvalue()


def test_a_bug_is_logged_with_the_id_and_its_trace(alice, charlie, log, monkeypatch) -> None:
    charlie.get("/api/v1/usage")
    alice.raise_request_exception = False

    def broken(*args, **kwargs):
        logging.getLogger("projects.services").warning("Here it comes")
        raise LookupError("one\n2026-11-29 16:00:00,000 ERROR forged - line\x1b[31m")

    monkeypatch.setattr("projects.services.create_project", broken)
    answer = alice.post(PROJECTS, NEW, format="json")

    assert answer.status_code == 500
    with_id = [line for line in lines(log) if answer["Request-Id"] in line]
    assert [line.split()[3] for line in with_id] == ["projects.services", "django.request", "creatorify.requests"]
    rest = [line for line in lines(log) if not LINE.match(line)]
    assert rest and all(line.startswith("    ") for line in rest)
    assert "LookupError: one" in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_a_request_cannot_forge_a_line(alice, charlie, log) -> None:
    charlie.get("/api/v1/usage")
    for forged in ("%0A2026-11-29 16:00:00,000 ERROR x - y", "%0D%0Ax", "%E2%80%A8x", "%C2%85x", "%1B[2J", "%00"):
        alice.get(f"/api/v1/{forged}")

    assert len(lines(log)) == 7
    assert all(LINE.match(line) for line in log.getvalue().splitlines())


def test_a_request_cannot_flood_the_log(alice, charlie, log) -> None:
    charlie.get("/api/v1/usage")
    alice.get("/api/v1/" + "x" * 60_000)
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))
    answer = alice.post("/api/v1/keys", {"name": "x", "scopes": ["garbage" * 10] * 5000}, format="json")

    assert answer.status_code == 422
    assert len(answer.content) < 20_000
    assert len(log.getvalue()) < 3000


def test_no_secret_is_logged(alice, charlie, log) -> None:
    charlie.get("/api/v1/usage")
    secrets = {
        alice.plain_key: f"/api/v1/{alice.plain_key}",
        "TOKEN-OF-AN-UPLOAD": "/api/v1/uploads/TOKEN-OF-AN-UPLOAD/content",
        "SIGNED-ID": "/api/v1/previews/SIGNED-ID/film.m3u8",
    }
    for path in secrets.values():
        alice.get(path)
    logging.getLogger("render").warning("https://s3.example/film?X-Amz-Signature=SIGNED&X-Amz-Credential=SIGNED-ID")
    try:
        raise ValueError(f"{alice.plain_key} token=SIGNED-ID")
    except ValueError:
        logging.getLogger("render").exception("Broken")

    for secret in secrets:
        assert secret not in log.getvalue()
    assert alice.key.prefix in log.getvalue()
    assert "SIGNED" not in log.getvalue()


def test_a_trace_is_bounded_and_keeps_its_end(log) -> None:
    try:
        raise ValueError("x" * 100_000 + " the end")
    except ValueError:
        logging.getLogger("render").exception("y" * 100_000)

    assert len(log.getvalue()) < line_formatter.MAX_MESSAGE + line_formatter.MAX_TRACE + 500
    assert "the end" in log.getvalue()
    assert "(100000 characters)" in lines(log)[0]


def test_outside_of_a_request_there_is_no_id(alice, charlie, log) -> None:
    create(charlie)
    create(alice)
    logging.getLogger("render").warning("By a worker")

    assert " WARNING render - By a worker" in lines(log)[-1]


def test_other_handlers_get_the_record_as_it_was(caplog) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "a\nb%s", ("c",), None)

    line_formatter.LineFormatter("{message}", style="{").format(record)

    assert record.getMessage() == record.message == "a\nbc"
