"""What may be kept, and what a browser may do: on every answer, whatever it is."""

import re
from itertools import product

import pytest
from django.test import Client

from accounts.models import ApiKey, Scope
from tests.creatorify.api.test_tenancy import METHODS, OPEN, api_routes, is_offered
from tests.projects.steps import NEW, PROJECTS, create, finished_project

SCRIPTS = re.compile(r"<script(?![^>]*(\bsrc=|type=\"application/json\"))[^>]*>|\son\w+=|javascript:", re.IGNORECASE)


def names(header: str) -> set[str]:
    return {name.strip() for name in header.split(",")}


def is_private(answer) -> bool:
    return answer["Cache-Control"] == "private, no-store" and names(answer["Vary"]) >= {"X-API-Key", "Authorization"}


def test_nothing_behind_a_key_is_kept_by_anybody(alice, charlie, anonymous):
    ApiKey.objects.update(scopes=list(Scope))
    project = finished_project(alice)
    seen = set()
    for route, method in product(sorted(api_routes()), [*METHODS, "options", "head"]):
        path = re.sub(r"\(\?P<month>.*\)$", "2026-05", re.sub(r"\(\?P<pk>[^)]*\)", project["id"], route))
        path = f"/api/v1/{path}".replace("<str:signed_id>", "x").replace("<str:token>", "x")
        has_view = method in ("options", "head") or is_offered(method, path)
        for caller in (alice, charlie, anonymous) if has_view else (alice,):
            answer = caller.generic(method.upper(), path, "{}", content_type="application/json")
            assert is_private(answer), (method, path, answer.status_code, answer.headers)
            seen.add(answer.status_code)
            if getattr(answer, "streaming", False):
                answer.close()
    assert seen >= {200, 401, 404, 405}
    assert OPEN


def test_errors_and_what_has_not_changed_are_no_exception(alice, anonymous, client):
    project = create(alice)
    status = alice.get(project["urls"]["status"])
    answers = {
        304: alice.get(project["urls"]["status"], headers={"If-None-Match": status["ETag"]}),
        401: client.get(PROJECTS, headers={"X-API-Key": "wrong"}),
        404: alice.get("/api/v1/nothing"),
        405: alice.put(PROJECTS),
        400: alice.post(PROJECTS, "{", content_type="application/json"),
        415: alice.post(PROJECTS, "a", content_type="text/plain"),
        422: alice.post(PROJECTS, {}, format="json"),
        201: alice.post(PROJECTS, NEW, format="json"),
        200: alice.get("/api/v1/usage/statements/2026-05?as=html"),
    }

    for code, answer in answers.items():
        assert answer.status_code == code
        assert is_private(answer), code
    assert alice.get(PROJECTS, headers={"Host": "evil.example"})["Cache-Control"] == "private, no-store"


def test_a_bug_is_no_exception(alice, monkeypatch):
    monkeypatch.setattr("projects.api.views.ProjectViewSet.list", lambda *args: 1 / 0)
    alice.raise_request_exception = False

    answer = alice.get(PROJECTS)

    assert (answer.status_code, is_private(answer)) == (500, True)
    assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_what_is_public_is_not_private(db, client):
    for path in ("/api/schema", "/api/docs/", "/api/redoc/", "/api/docs/errors/"):
        assert "no-store" not in client.get(path).headers.get("Cache-Control", "")
    assert "no-store" in client.get("/healthz")["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    ["/admin/", "/admin/login/", "/admin/accounts/apikey/", "/admin/operations/", "/admin/report/", "/admin/jsi18n/",
     "/admin/nothing/", "/admin/accounts/tenant/?secret=1", "/admin"],
)  # fmt: skip
def test_the_admin_is_kept_by_nobody_and_runs_its_own_scripts_only(admin_client, path):
    answer = admin_client.get(path)

    assert answer["Cache-Control"] == "private, no-store"
    assert "Cookie" in names(answer["Vary"])
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    assert "unsafe" not in policy.replace("style-src 'self' 'unsafe-inline'", "")


@pytest.mark.parametrize(
    "path",
    [
        *("/api/docs/", "/api/redoc/", "/api/docs/errors/", "/nothing", "/admin/", "/admin/operations/"),
        *("/admin/report/", "/admin/accounts/apikey/add/", "/admin/auth/user/add/", "/admin/login/"),
        "/admin/accounts/membership/add/",
    ],
)
def test_no_page_needs_a_script_that_stands_in_it(admin_client, path):
    answer = admin_client.get(path)

    assert "'unsafe-inline'" not in answer["Content-Security-Policy"].partition("script-src")[2].partition(";")[0]
    assert not SCRIPTS.search(answer.content.decode())


def test_an_answer_of_the_api_opened_as_a_page_does_nothing(alice):
    page = alice.get("/api/v1/usage/statements/2026-05?as=html")

    assert page["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script-src" not in page["Content-Security-Policy"]


def test_a_refused_log_in_has_them_too(db):
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "x"})

    assert (answer.status_code, answer["Cache-Control"]) == (403, "private, no-store")
    assert "script-src 'self';" in answer["Content-Security-Policy"]
