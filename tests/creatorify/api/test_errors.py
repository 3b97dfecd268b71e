import errno
import logging

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from accounts.api_keys import keys
from accounts.errors import PROBLEM_TYPES
from projects import services
from tests.projects.steps import NEW, PROJECTS, create

MEMBERS = {"type", "title", "status", "detail", "code", "param", "retryable", "billed", "request_id"}


def assert_problem(response, status, code):
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json"), response.content
    body = response.json()
    assert body.keys() - {"errors"} == MEMBERS
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/api/docs/errors#{code}")
    assert body["request_id"] == response["Request-Id"]
    assert isinstance(body["detail"], str)


def test_every_problem_has_the_same_members(alice, anonymous):
    project = create(alice)

    assert_problem(anonymous.get(PROJECTS), 401, "unauthenticated")
    assert "X-API-Key" in anonymous.get(PROJECTS).json()["detail"]
    assert_problem(alice.get(f"{PROJECTS}/nonsense"), 404, "not_found")
    assert_problem(alice.put(PROJECTS, NEW, format="json"), 405, "method_not_allowed")
    assert_problem(alice.patch(project["urls"]["self"], {}, format="json"), 405, "method_not_allowed")
    assert_problem(alice.get(PROJECTS, headers={"Accept": "application/xml"}), 406, "not_acceptable")
    assert_problem(alice.post(PROJECTS, "{", content_type="application/json"), 400, "malformed")
    assert_problem(alice.post(PROJECTS, "x", content_type="text/plain"), 415, "unsupported_media_type")
    assert_problem(alice.post(PROJECTS, {}, format="json"), 422, "invalid")


def test_it_names_the_methods_that_are_allowed(alice):
    assert alice.put(PROJECTS, NEW, format="json")["Allow"] == "GET, POST, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "header",
    [
        {"X-API-Key": "nonsense"},
        {"X-API-Key": "cf_live_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb_cccccc"},
        {"X-API-Key": "ä€"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {},
    ],
)
def test_a_wrong_key_and_a_missing_one_are_both_401_with_a_challenge(db, header):
    response = Client().get(PROJECTS, headers=header)

    assert_problem(response, 401, "unauthenticated")
    assert response["WWW-Authenticate"] == 'ApiKey realm="api"'


def test_a_key_works_as_a_bearer_token_too(alice):
    assert Client().get(PROJECTS, headers={"Authorization": f"Bearer {alice.plain_key}"}).status_code == 200


def test_a_revoked_key_and_a_suspended_tenant_are_told_so(alice, bob):
    alice.key.revoked_at = "2026-01-01T00:00:00Z"
    alice.key.save(update_fields=["revoked_at"])
    response = alice.get(PROJECTS)
    assert_problem(response, 401, "key_expired")
    assert response["WWW-Authenticate"] == 'ApiKey realm="api"'

    bob.tenant.suspended_at = "2026-01-01T00:00:00Z"
    bob.tenant.save(update_fields=["suspended_at"])
    assert_problem(bob.get(PROJECTS), 403, "tenant_suspended")


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/projects", "/api/v1/projects/a/b/c"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_address_is_a_problem_for_every_method(path, method):
    response = getattr(Client(enforce_csrf_checks=True), method)(path)

    assert_problem(response, 404, "not_found")


def test_an_unknown_host_is_a_problem(caplog):
    assert_problem(Client().get(PROJECTS, headers={"Host": "evil.example"}), 400, "malformed")


def test_a_bug_is_logged_and_not_shown(alice, monkeypatch, caplog):
    def break_down(*_, **__):
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(services, "create_project", break_down)
    alice.raise_request_exception = False

    with caplog.at_level(logging.ERROR):
        response = alice.post(PROJECTS, NEW, format="json")

    assert_problem(response, 500, "internal")
    assert b"secret" not in response.content
    assert "secret of the house" in caplog.text


def test_a_bug_while_the_key_is_read_is_not_shown_either(alice, monkeypatch):
    def break_down(*_, **__):
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(keys, "authenticate", break_down)
    alice.raise_request_exception = False

    assert_problem(alice.get(PROJECTS), 500, "internal")


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_told_from_a_bug(alice, monkeypatch, caplog, error):
    def fail(*_, **__):
        raise error("connection to server at 10.0.0.7 failed")

    monkeypatch.setattr(services, "create_project", fail)

    refused = alice.post(PROJECTS, NEW, format="json")

    assert_problem(refused, 503, "unavailable")
    assert int(refused["Retry-After"]) > 0
    assert "10.0.0.7" not in refused.content.decode()
    assert "10.0.0.7" in caplog.text


def test_options_tell_what_an_address_can(alice):
    assert alice.options(PROJECTS).status_code == 200


def test_each_response_has_an_id_of_its_own(alice):
    assert alice.get(PROJECTS)["Request-Id"] != alice.get(PROJECTS)["Request-Id"]


def test_the_error_page_explains_every_code(client):
    page = client.get("/api/docs/errors").content.decode()

    assert all(f'id="{code}"' in page for code in PROBLEM_TYPES)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE])
def test_a_server_without_room_says_so_and_when_to_try_again(alice, charlie, monkeypatch, caplog, code):
    def fail(*arguments, **named):
        raise OSError(code, "secret of the disk")

    with monkeypatch.context() as broken:
        broken.setattr(services, "create_project", fail)
        refused = alice.post(PROJECTS, NEW, format="json")

    assert_problem(refused, 503, "unavailable")
    assert refused["Retry-After"] == "30"
    assert "secret of the disk" in caplog.text and "secret" not in refused.content.decode()
    create(charlie)


def test_another_error_of_a_file_is_a_bug(alice, monkeypatch):
    def fail(*arguments, **named):
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(services, "create_project", fail)
    alice.raise_request_exception = False

    assert_problem(alice.post(PROJECTS, NEW, format="json"), 500, "internal")
