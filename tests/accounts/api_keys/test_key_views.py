"""/api/v1/keys, as a tenant's own developer sees it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import ApiKey, AuditEntry, IdempotentResponse, Scope
from tests.conftest import Caller

KEYS = "/api/v1/keys"
PROJECTS = "/api/v1/projects"


@pytest.fixture
def owner(acme) -> Caller:
    caller = Caller(acme, "owner")
    ApiKey.objects.filter(pk=caller.key.pk).update(scopes=list(Scope))
    return caller


def status_with(client, plain: str, **headers: str) -> int:
    return client.get(PROJECTS, headers={"X-API-Key": plain, **headers}).status_code


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


@pytest.mark.parametrize("depth", [51, 936, 100_000])
def test_a_deep_body_is_refused_whatever_reads_it_later(owner, depth) -> None:
    body = f'{{"name": "x", "scopes": {"[" * depth + "]" * depth}}}'

    response = owner.generic("POST", KEYS, body, content_type="application/json", headers={"Idempotency-Key": "once"})

    assert (response.status_code, response.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_new_key_is_shown_once_and_works(owner, client, slash):
    answer = owner.post(f"{KEYS}{slash}", {"name": "Build server", "scopes": ["projects:read"]}, format="json")

    created = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "private, no-store")
    assert (created["name"], created["mode"], created["scopes"]) == ("Build server", "live", ["projects:read"])
    assert status_with(client, created["key"]) == 200
    assert client.post(PROJECTS, {}, headers={"X-API-Key": created["key"]}).status_code == 403
    assert "key" not in owner.get(f"{KEYS}/{created['id']}").json()
    assert actions() == ["key.created"]
    entry = AuditEntry.objects.get()
    assert (entry.api_key, entry.target, entry.ip_address) == (owner.key, f"apikey {created['id']}", "127.0.0.1")


def test_without_scopes_a_new_key_gets_those_of_the_one_that_asks_but_for_the_keys(owner):
    created = owner.post(KEYS, {"name": "x"}, format="json").json()

    assert set(created["scopes"]) == set(Scope) - {Scope.KEYS_ADMIN}


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_scope_is_needed(alice, method):
    answer = getattr(alice, method)(KEYS, {"name": "x"})

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


def test_a_key_gives_away_no_scope_that_it_lacks(owner):
    ApiKey.objects.filter(pk=owner.key.pk).update(scopes=["keys:admin", "projects:read"])

    refused = owner.post(KEYS, {"name": "x", "scopes": ["projects:read", "usage:read"]}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (403, "scopes")
    assert ApiKey.objects.count() == 1


def test_a_test_key_makes_no_live_key(owner):
    test = Caller(owner.tenant, "test")
    created = owner.post(KEYS, {"name": "x", "mode": "test", "scopes": list(Scope)}, format="json").json()
    test.credentials(HTTP_X_API_KEY=created["key"])

    assert test.post(KEYS, {"name": "y", "mode": "live"}, format="json").status_code == 403
    assert test.post(KEYS, {"name": "y"}, format="json").json()["mode"] == "test"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("scopes", []),
        ("scopes", ["everything"]),
        ("mode", "other"),
        ("allowed_ips", ["300.1.1.1"]),
        ("expires_at", "2020-01-01T00:00:00Z"),
    ],
)
def test_what_makes_no_key_is_refused(owner, field, value):
    refused = owner.post(KEYS, {"name": "x", field: value}, format="json")

    assert refused.status_code == 422
    assert refused.json()["param"].startswith(field)


def test_rotation_lets_both_keys_work_until_the_overlap_is_over(owner, client):
    old = owner.post(KEYS, {"name": "Server", "allowed_ips": ["127.0.0.0/8"]}, format="json").json()

    answer = owner.post(f"{KEYS}/{old['id']}/rotate", {"overlap_hours": 2}, format="json")

    new = answer.json()
    assert answer.status_code == 201
    assert (new["rotated_from"], new["name"], new["allowed_ips"]) == (old["id"], "Server", ["127.0.0.0/8"])
    assert new["scopes"] == old["scopes"]
    assert status_with(client, old["key"]) == status_with(client, new["key"]) == 200
    left = ApiKey.objects.get(pk=old["id"]).expires_at - timezone.now()
    assert timedelta(hours=1.9) < left <= timedelta(hours=2)
    ApiKey.objects.filter(pk=old["id"]).update(expires_at=timezone.now())
    assert (status_with(client, old["key"]), status_with(client, new["key"])) == (401, 200)
    again = owner.post(f"{KEYS}/{old['id']}/rotate", format="json")
    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")


@pytest.mark.parametrize("expiry", [None, timezone.now() + timedelta(days=90)])
@pytest.mark.parametrize("by", ["itself", "another"])
def test_who_has_lost_the_answer_rotates_again_and_gets_a_key_that_lasts(owner, charlie, expiry, by):
    expiry_field = {"expires_at": expiry.isoformat()} if expiry else {}
    old = owner.post(KEYS, {"name": "Server", "scopes": ["keys:admin"], **expiry_field}, format="json").json()
    rotating = Caller(owner.tenant, "unused") if by == "itself" else owner
    if by == "itself":
        rotating.credentials(HTTP_X_API_KEY=old["key"])
    stranger = ApiKey.objects.filter(pk=charlie.key.pk).values().get()

    created = [
        rotating.post(f"{KEYS}/{old['id']}/rotate", {"overlap_hours": 2}, format="json").json() for _ in range(3)
    ]

    rows = [ApiKey.objects.get(pk=one["id"]) for one in created]
    assert [row.expires_at for row in rows] == [expiry] * 3
    assert ApiKey.objects.get(pk=old["id"]).expires_at < timezone.now() + timedelta(hours=2)
    lost = [key["id"] for key in owner.get(KEYS).json()["data"] if key["rotated_from"] == old["id"]]
    assert set(lost) == {one["id"] for one in created}
    child = rotating.post(KEYS, {"name": "child", "scopes": ["keys:admin"]}, format="json").json()
    assert ApiKey.objects.get(pk=child["id"]).expires_at == (expiry if by == "itself" else None)
    assert ApiKey.objects.filter(pk=charlie.key.pk).values().get() == stranger


def test_rotation_never_prolongs_a_key(owner):
    soon = timezone.now() + timedelta(hours=1)
    old = owner.post(KEYS, {"name": "x", "expires_at": soon.isoformat()}, format="json").json()

    owner.post(f"{KEYS}/{old['id']}/rotate", {"overlap_hours": 24}, format="json")

    assert ApiKey.objects.get(pk=old["id"]).expires_at == soon


def test_a_revoked_key_opens_nothing_and_stays_in_the_list(owner, client):
    created = owner.post(KEYS, {"name": "x"}, format="json").json()

    assert owner.delete(f"{KEYS}/{created['id']}").json() == {"detail": "API key revoked"}
    assert owner.delete(f"{KEYS}/{created['id']}").status_code == 200

    assert status_with(client, created["key"]) == 401
    assert [key["revoked_at"] is None for key in owner.get(KEYS).json()["data"]] == [False, True]
    assert actions() == ["key.created", "key.revoked"]


def test_a_key_can_be_renamed_and_bound_to_networks(owner, client):
    created = owner.post(KEYS, {"name": "x"}, format="json").json()

    changed = owner.patch(
        f"{KEYS}/{created['id']}", {"name": "y", "allowed_ips": ["10.1.2.3", "2001:db8::/32"]}, format="json"
    ).json()

    assert (changed["name"], changed["allowed_ips"]) == ("y", ["10.1.2.3/32", "2001:db8::/32"])
    refused = client.get(PROJECTS, headers={"X-API-Key": created["key"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "ip_not_allowed")
    assert client.get(PROJECTS, headers={"X-API-Key": created["key"]}, REMOTE_ADDR="10.1.2.3").status_code == 200
    assert client.get(PROJECTS, headers={"X-API-Key": created["key"]}, REMOTE_ADDR="2001:db8::1").status_code == 200
    # A client can write into this header what it likes.
    assert status_with(client, created["key"], **{"X-Forwarded-For": "10.1.2.3"}) == 403


def test_behind_a_proxy_the_hop_that_it_has_seen_counts(client, owner, settings):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    created = owner.post(KEYS, {"name": "x", "allowed_ips": ["10.1.2.3"]}, format="json").json()

    assert status_with(client, created["key"], **{"X-Forwarded-For": "1.2.3.4, 10.1.2.3"}) == 200
    assert status_with(client, created["key"], **{"X-Forwarded-For": "10.1.2.3, 1.2.3.4"}) == 403


def test_the_list_comes_in_pages_and_shows_no_secret(owner):
    for number in range(5):
        owner.post(KEYS, {"name": str(number)}, format="json")

    first = owner.get(KEYS, {"limit": 4}).json()
    second = owner.get(KEYS, {"limit": 4, "cursor": first["next_cursor"]}).json()

    assert [key["name"] for key in first["data"] + second["data"]] == ["4", "3", "2", "1", "0", "owner"]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)
    assert not {"key", "digest"} & first["data"][0].keys()


def test_other_tenants_keys_are_not_there(owner, charlie):
    for method, path in [("get", ""), ("patch", ""), ("delete", ""), ("post", "/rotate")]:
        answer = getattr(owner, method)(f"{KEYS}/{charlie.key.pk}{path}", format="json")
        assert answer.status_code == 404
    assert [key["name"] for key in owner.get(KEYS).json()["data"]] == ["owner"]


def test_a_repeated_request_makes_one_key_and_shows_it_once(owner):
    first, second = (
        owner.post(KEYS, {"name": "x"}, format="json", headers={"Idempotency-Key": "once"}) for _ in range(2)
    )

    assert first.json()["key"] is not None
    assert second.json() == {**first.json(), "key": None}
    assert second["Idempotency-Replayed"] == "true"
    assert ApiKey.objects.count() == 2
    assert first.json()["key"] not in str(IdempotentResponse.objects.values())
