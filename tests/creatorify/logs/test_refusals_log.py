"""What strangers ask for is logged, but cannot fill the log; of a tenant, and of staff, each request is logged."""

import logging
import time
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from accounts.models import ApiKey
from creatorify.logs import line_limit
from creatorify.logs.line_limit import LINES_PER_SECOND
from creatorify.middleware import request_id
from tests.conftest import Caller
from tests.projects.steps import PROJECTS

MORE = "came within a second and were left out"


@pytest.fixture
def second(monkeypatch):
    """Sets the second that the monotonic clock shows."""

    def show(number: int) -> None:
        monkeypatch.setattr(line_limit, "monotonic", lambda: float(number))

    show(1)
    return show


def refuse(times: int) -> None:
    for number in range(times):
        request_id.log_response(f"req_{number}", "PUT", "/api/v1/uploads/x/content", 404, began=time.perf_counter())


def test_so_many_a_second_are_logged_and_the_others_counted(second, caplog) -> None:
    refuse(LINES_PER_SECOND + 5)
    assert caplog.text.count("PUT /api/v1/uploads/.../content 404") == LINES_PER_SECOND

    second(2)
    refuse(1)
    assert f"5 more lines like this one {MORE}" in caplog.text
    assert caplog.text.count("PUT /api/v1/uploads/.../content 404") == LINES_PER_SECOND + 1


def test_a_few_are_all_logged(second, caplog) -> None:
    for number in (1, 2, 3):
        second(number)
        refuse(3)

    assert caplog.text.count(" 404 ") == 9 and MORE not in caplog.text


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/v1/nothing", {}, 404),
        ("/nothing", {}, 404),
        (PROJECTS, {}, 401),
        (PROJECTS, {"X-API-Key": "cf_live_12345678_12345678901234567890123456789012_123456"}, 401),
        (PROJECTS, {"Host": "evil.example"}, 400),
        ("/media/film.mp4", {}, 403),
        ("/admin/", {}, 302),
        ("/api/docs", {}, 200),
    ],
)
def test_strangers_cannot_fill_the_log(db, client, alice, second, caplog, path, headers, status) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(LINES_PER_SECOND + 5):
        assert client.get(path, headers=headers).status_code == status
    assert len(caplog.records) == LINES_PER_SECOND
    assert not any(record.exc_info for record in caplog.records)
    # They have left the room of others as it was.
    for _ in range(3):
        alice.get(PROJECTS)

    second(2)
    client.get(path, headers=headers)

    assert len(caplog.records) == LINES_PER_SECOND + 3 + 2
    assert f"5 more lines like this one {MORE}" in caplog.text


def test_all_requests_of_a_tenant_are_logged_the_refused_ones_too(alice, charlie, second, caplog) -> None:
    narrow = Caller(alice.tenant, "narrow")
    ApiKey.objects.filter(pk=narrow.key.pk).update(scopes=["usage:read"])
    refused = [
        (alice.get, f"{PROJECTS}/1", 404),
        (alice.put, PROJECTS, 405),
        (alice.post, PROJECTS, 422),
        (narrow.get, PROJECTS, 403),
    ]
    for method, path, status in refused:
        for _ in range(LINES_PER_SECOND + 5):
            assert method(path).status_code == status
    charlie.get(f"{PROJECTS}/1")

    assert len(caplog.records) == len(refused) * (LINES_PER_SECOND + 5) + 1


def test_all_requests_of_staff_are_logged(db, client, second, caplog) -> None:
    client.force_login(User.objects.create_user("sam", is_staff=True))
    for _ in range(LINES_PER_SECOND + 5):
        assert client.get("/admin/report/").status_code == 403

    assert caplog.text.count("GET /admin/report/ 403") == LINES_PER_SECOND + 5


def test_a_trace_for_each_request_fills_the_log_neither(db, client, second, caplog, monkeypatch) -> None:
    def away(*args, **kwargs):
        raise OperationalError("no server")

    monkeypatch.setattr("creatorify.operations.health.connection", SimpleNamespace(cursor=away))
    monkeypatch.setattr("accounts.api_keys.keys.authenticate", away)
    monkeypatch.setattr("accounts.staff.login_limits.count_try", away)
    client.raise_request_exception = False
    for _ in range(LINES_PER_SECOND):
        assert client.get("/healthz").status_code == 503
        assert client.get(PROJECTS, headers={"X-API-Key": "x"}).status_code == 503
        assert client.post("/admin/login/", {"username": "x"}).status_code == 500

    with_trace = [record for record in caplog.records if record.exc_info]
    assert {record.name for record in with_trace} == {
        "creatorify.operations.health",
        "creatorify.api.errors",
        "django.request",
    }
    assert len(caplog.records) == 2 * LINES_PER_SECOND


def test_a_path_is_cut(client, db, second, caplog) -> None:
    client.get("/" + "x" * 60_000)

    assert "/" + "x" * (request_id.MAX_PATH - 1) + "... 404" in caplog.text
    assert len(caplog.text) < 400
