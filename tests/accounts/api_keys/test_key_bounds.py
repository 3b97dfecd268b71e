"""A tenant can neither have API keys without end nor fill the audit log with changes of them."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from accounts import audit
from accounts.api_keys import keys
from accounts.models import ApiKey, AuditEntry, Scope

pytestmark = pytest.mark.django_db
KEYS = "/api/v1/keys"


@pytest.fixture(autouse=True)
def _all_scopes(alice, charlie) -> None:
    ApiKey.objects.update(scopes=list(Scope))


def make(caller):
    return caller.post(KEYS, {"name": "x"}, format="json")


def test_a_tenant_has_so_many_usable_keys_and_no_more(alice, charlie, settings) -> None:
    settings.MAX_API_KEYS = 3
    keys.issue(charlie.tenant, name="hers")
    keys.issue(alice.tenant, name="test", mode=ApiKey.Mode.TEST)
    keys.revoke(keys.issue(alice.tenant, name="revoked")[0])
    keys.issue(alice.tenant, name="expired", expires_at=timezone.now() - timedelta(days=1))
    answers = [make(alice) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]

    refused = make(alice)
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert "3 live keys" in refused.json()["detail"]
    assert make(charlie).status_code == 201
    # One can be replaced, and after one was revoked another one is possible.
    first, second = (f"{KEYS}/{answer.json()['id']}" for answer in answers)
    assert alice.post(f"{first}/rotate", {"overlap_hours": 0}, format="json").status_code == 201
    alice.delete(second)
    assert make(alice).status_code == 201


def test_keys_are_changed_so_often_in_a_day_and_revoked_at_any_time(alice, charlie, settings) -> None:
    settings.MAX_KEY_CHANGES = 3
    for caller in (alice, charlie):
        audit.record("key.by_staff", caller.key, tenant=caller.tenant)
    test_key = keys.issue(alice.tenant, name="test", mode=ApiKey.Mode.TEST)[0]
    audit.record("key.by_test", test_key, tenant=alice.tenant, api_key=test_key)
    path = f"{KEYS}/{make(alice).json()['id']}"
    assert alice.patch(path, {"name": "y"}, format="json").status_code == 200
    successor = alice.post(f"{path}/rotate", {"overlap_hours": 1}, format="json")
    assert successor.status_code == 201

    for refused in (
        make(alice),
        alice.patch(path, {"name": "z"}, format="json"),
        alice.post(f"{path}/rotate", format="json"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_changes")
        assert "Retry-After" in refused
    assert ApiKey.objects.get(pk=successor.json()["id"]).name == "y"
    assert AuditEntry.objects.filter(tenant=alice.tenant).count() == 5
    assert alice.patch(path, {}, format="json").status_code == 200  # It changes nothing.
    assert alice.delete(path).status_code == 200
    assert ApiKey.objects.get(prefix=alice.get(path).json()["prefix"]).revoked_at
    assert make(charlie).status_code == 201

    AuditEntry.objects.update(created_at=F("created_at") - timedelta(days=1))
    assert make(alice).status_code == 201


def test_the_page_of_a_tenant_shows_its_usable_keys(admin_client, alice, bob) -> None:
    keys.revoke(bob.key)

    page = admin_client.get(f"/admin/accounts/tenant/{alice.tenant.pk}/change/").content.decode()

    assert alice.key.prefix in page and bob.key.prefix not in page
