"""A key with keys:admin never gets, or gives, more than it has: by whichever request and in however many steps."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.api_keys import delegation, keys
from accounts.errors import ServiceError
from accounts.models import ApiKey, AuditEntry, Scope
from tests.conftest import Caller

KEYS = "/api/v1/keys"
ALL = list(Scope)
SOON = timezone.now() + timedelta(days=2)
LATER = SOON + timedelta(days=30)


def caller_with(tenant, *, scopes=ALL, **options) -> Caller:
    client = Caller(tenant, "first")
    client.key, client.plain_key = keys.issue(tenant, name="caller", scopes=scopes, **options)
    client.credentials(HTTP_X_API_KEY=client.plain_key)
    return client


def make(tenant, **options) -> ApiKey:
    return keys.issue(tenant, name="target", **{"scopes": ALL, **options})[0]


def changes(row: ApiKey) -> dict:
    return {**ApiKey.objects.filter(pk=row.pk).values().get(), "last_used_at": None}


@pytest.fixture(autouse=True)
def neighbour(charlie) -> Iterator[None]:
    """Another tenant with a key of its own, of which nothing is ever changed."""
    before = changes(charlie.key)
    yield
    assert changes(charlie.key) == before
    assert charlie.tenant.api_keys.count() == 1
    assert not charlie.tenant.audit_entries.exists()


def attempts(caller: Caller, target: ApiKey):
    """Everything that touches a key, each as a call."""
    path = f"{KEYS}/{target.pk}"
    return {
        "rotate": lambda: caller.post(f"{path}/rotate", {"overlap_hours": 1}, format="json"),
        "rename": lambda: caller.patch(path, {"name": "mine"}, format="json"),
        "networks": lambda: caller.patch(path, {"allowed_ips": ["127.0.0.0/8"]}, format="json"),
        "revoke": lambda: caller.delete(path),
    }


@pytest.mark.parametrize("action", ["rotate", "rename", "networks", "revoke"])
@pytest.mark.parametrize("scopes", [["keys:admin"], ["keys:admin", "projects:read"], ALL[1:]])
def test_a_key_with_more_scopes_is_out_of_reach(acme, action, scopes):
    caller, target = caller_with(acme, scopes=scopes), make(acme)
    before = changes(target)

    refused = attempts(caller, target)[action]()

    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (
        403, "insufficient_scope", "scopes",
    )  # fmt: skip
    assert changes(target) == before
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("action", ["rotate", "rename", "networks", "revoke"])
def test_a_live_key_is_not_there_for_a_test_key(acme, action):
    caller, target = caller_with(acme, mode="test"), make(acme, scopes=["projects:read"])
    before = changes(target)

    assert attempts(caller, target)[action]().status_code == 404
    assert caller.get(f"{KEYS}/{target.pk}").status_code == 404
    assert {key["mode"] for key in caller.get(KEYS).json()["data"]} == {"test"}
    assert changes(target) == before
    with pytest.raises(ServiceError, match="test keys only"):
        delegation.require_may_manage(caller.key, target)


@pytest.mark.parametrize("action", ["rotate", "rename", "networks", "revoke"])
@pytest.mark.parametrize("mode", ["live", "test"])
def test_what_is_within_reach_may_be_changed(acme, action, mode):
    caller, target = caller_with(acme), make(acme, mode=mode, scopes=["projects:read"])

    assert attempts(caller, target)[action]().status_code in (200, 201)


@pytest.mark.parametrize("action", ["rotate", "rename", "revoke"])
def test_a_key_may_replace_rename_and_revoke_itself(acme, action):
    caller = caller_with(acme, scopes=["keys:admin"], allowed_ips=["127.0.0.0/8"], expires_at=SOON, mode="test")

    assert attempts(caller, caller.key)[action]().status_code in (200, 201)


def test_a_child_and_a_successor_are_bound_as_the_key_that_asks(acme):
    caller = caller_with(acme, allowed_ips=["127.0.0.0/8", "::1/128"], expires_at=SOON)

    child = caller.post(KEYS, {"name": "child"}, format="json").json()
    of_child = caller.post(f"{KEYS}/{child['id']}/rotate", {"overlap_hours": 168}, format="json").json()
    successor = caller.post(f"{KEYS}/{caller.key.pk}/rotate", format="json").json()

    for created in (child, successor, of_child):
        row = ApiKey.objects.get(pk=created["id"])
        assert (row.allowed_ips, row.expires_at) == (["127.0.0.0/8", "::1/128"], SOON)


def test_the_successors_of_successors_stay_bound(acme):
    caller = caller_with(acme, allowed_ips=["127.0.0.0/8"], expires_at=SOON)

    for _ in range(3):
        created = caller.post(f"{KEYS}/{caller.key.pk}/rotate", {"overlap_hours": 168}, format="json").json()
        caller.key = ApiKey.objects.get(pk=created["id"])
        caller.credentials(HTTP_X_API_KEY=created["key"])

    rows = ApiKey.objects.filter(name="caller")
    assert rows.count() == 4
    assert {(tuple(row.allowed_ips), row.expires_at) for row in rows} == {(("127.0.0.0/8",), SOON)}


@pytest.mark.parametrize(
    "networks",
    [[], ["0.0.0.0/0"], ["127.0.0.0/7"], ["127.0.0.1", "10.0.0.1"], ["::/0"], ["::1"], ["::ffff:10.0.0.0/104"]],
)
@pytest.mark.parametrize("request_", ["create", "own", "another's"])
def test_no_networks_beyond_the_own(acme, networks, request_):
    caller = caller_with(acme, allowed_ips=["127.0.0.0/8"])
    target = caller.key if request_ == "own" else make(acme, allowed_ips=["127.0.0.0/9"])
    before = changes(target)

    if request_ == "create":
        refused = caller.post(KEYS, {"name": "x", "allowed_ips": networks}, format="json")
    else:
        refused = caller.patch(f"{KEYS}/{target.pk}", {"allowed_ips": networks}, format="json")

    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (
        403, "exceeds_own_key", "allowed_ips",
    )  # fmt: skip
    assert changes(target) == before
    assert not ApiKey.objects.filter(name="x").exists()


@pytest.mark.parametrize(
    "networks", [["127.0.0.0/8"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["127.0.0.0/9", "127.128.0.0/9"]]
)
def test_networks_within_the_own_are_given(acme, networks):
    caller = caller_with(acme, allowed_ips=["127.0.0.0/8"])

    created = caller.post(KEYS, {"name": "x", "allowed_ips": networks}, format="json")

    assert created.status_code == 201
    assert caller.patch(f"{KEYS}/{caller.key.pk}", {"allowed_ips": networks}, format="json").status_code == 200


@pytest.mark.parametrize("bound", [[], ["10.0.0.0/8"], ["126.0.0.0/7"]])
def test_a_bound_key_does_not_replace_one_that_opens_elsewhere(acme, bound):
    caller, target = caller_with(acme, allowed_ips=["127.0.0.0/8"]), make(acme, allowed_ips=bound)

    refused = caller.post(f"{KEYS}/{target.pk}/rotate", format="json")

    assert (refused.status_code, refused.json()["param"]) == (403, "allowed_ips")
    assert not ApiKey.objects.filter(rotated_from=target).exists()


@pytest.mark.parametrize("expiry", [None, LATER, SOON + timedelta(microseconds=1)])
@pytest.mark.parametrize("request_", ["create", "rotate", "rotate itself"])
def test_no_expiry_beyond_the_own(acme, expiry, request_):
    caller = caller_with(acme, expires_at=SOON)
    target = caller.key if request_ == "rotate itself" else make(acme, expires_at=SOON)
    path = KEYS if request_ == "create" else f"{KEYS}/{target.pk}/rotate"

    refused = caller.post(path, {"name": "x", "expires_at": expiry and expiry.isoformat()}, format="json")

    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (
        403, "exceeds_own_key", "expires_at",
    )  # fmt: skip
    assert set(ApiKey.objects.filter(name__in=["caller", "target"]).values_list("expires_at", flat=True)) == {SOON}


@pytest.mark.parametrize("action", ["create", "rotate"])
def test_to_be_rotated_frees_no_key_from_its_own_expiry(acme, action):
    caller = caller_with(acme, expires_at=SOON)
    path = KEYS if action == "create" else f"{KEYS}/{caller.key.pk}/rotate"
    assert caller.post(f"{KEYS}/{caller.key.pk}/rotate", {"overlap_hours": 1}, format="json").status_code == 201

    for expiry in (None, LATER.isoformat()):
        refused = caller.post(path, {"name": "x", "expires_at": expiry}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (403, "exceeds_own_key")
    created = caller.post(path, {"name": "x"}, format="json").json()
    assert ApiKey.objects.get(pk=created["id"]).expires_at == SOON


def test_a_renewal_that_lasts_longer_frees_not_the_key_that_it_renews(acme):
    """A key without an end has given the successor more time; the old key gives no more than it had."""
    caller, target = caller_with(acme), make(acme, expires_at=SOON)
    caller.post(f"{KEYS}/{target.pk}/rotate", {"expires_at": LATER.isoformat()}, format="json")

    assert ApiKey.objects.get(pk=target.pk).own_expiry == SOON


@pytest.mark.parametrize("expiry", [None, LATER])
def test_a_key_that_ends_does_not_replace_one_that_lasts_longer(acme, expiry):
    caller, target = caller_with(acme, expires_at=SOON), make(acme, expires_at=expiry)

    assert caller.post(f"{KEYS}/{target.pk}/rotate", format="json").json()["param"] == "expires_at"
    within = caller.post(f"{KEYS}/{target.pk}/rotate", {"expires_at": SOON.isoformat()}, format="json")
    assert within.status_code == 201
    assert ApiKey.objects.get(pk=within.json()["id"]).expires_at == SOON


def test_a_key_that_ends_is_renewed_by_one_that_lasts(acme):
    caller, target = caller_with(acme), make(acme, expires_at=SOON)

    created = caller.post(f"{KEYS}/{target.pk}/rotate", {"expires_at": LATER.isoformat()}, format="json").json()

    assert ApiKey.objects.get(pk=created["id"]).expires_at == LATER


def test_the_older_answer_is_the_keys_and_not_given_to_children(acme):
    caller = caller_with(acme)
    ApiKey.objects.filter(pk=caller.key.pk).update(legacy_200=True)

    child = caller.post(KEYS, {"name": "x"}, format="json").json()
    successor = caller.post(f"{KEYS}/{caller.key.pk}/rotate", format="json").json()

    flags = dict(ApiKey.objects.values_list("pk", "legacy_200"))
    assert {str(key): legacy for key, legacy in flags.items() if legacy} == {
        str(caller.key.pk): True,
        successor["id"]: True,
    }
    assert not flags[ApiKey.objects.get(pk=child["id"]).pk]


def test_what_would_open_nothing_is_not_made(acme):
    caller = caller_with(acme, scopes=["keys:admin"])

    refused = caller.post(KEYS, {"name": "x"}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "scopes")


@pytest.mark.parametrize("change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now()}])
def test_a_key_that_has_ended_since_its_request_began_does_nothing(acme, change):
    caller, target = caller_with(acme), make(acme)
    ApiKey.objects.filter(pk=caller.key.pk).update(**change)

    with transaction.atomic(), pytest.raises(ServiceError, match="expired or was revoked"):
        delegation.lock(caller.key, target)


@pytest.mark.django_db(transaction=True)
def test_while_a_key_makes_another_it_is_not_revoked(acme):
    caller = caller_with(acme)
    revoked = threading.Event()

    def revoke() -> None:
        keys.revoke(caller.key)
        revoked.set()
        connection.close()

    thread = threading.Thread(target=revoke)
    with transaction.atomic():
        delegation.lock(caller.key)
        thread.start()
        assert not revoked.wait(0.5)
    thread.join(10)
    assert revoked.is_set()
