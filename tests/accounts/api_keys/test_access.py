"""Who may do what with a key: around each rule. A second tenant with keys of its own stands beside."""

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import networks
from accounts.api_keys import keys
from accounts.billing import reports
from accounts.errors import ServiceError
from accounts.models import ApiKey, Scope, UsageEntry
from tests.projects.steps import PROJECTS, create, finished_project

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]


def refused(plain: str, **how) -> str:
    with pytest.raises(ServiceError) as caught:
        keys.authenticate(plain, **how)
    return caught.value.code


def change(alice, **fields) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(**fields)


@pytest.mark.parametrize(
    ("networks", "address", "opens"),
    [
        ([], None, True),
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["192.0.2.7/32", "10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8", "192.0.2.7/32"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.0/8"], None, False),
        (["10.0.0.0/8"], "nonsense", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "10.1.2.3", False),
    ],
)
def test_networks(alice, networks, address, opens) -> None:
    change(alice, allowed_ips=networks)

    if opens:
        assert keys.authenticate(alice.plain_key, ip_address=address) == alice.key
    else:
        assert refused(alice.plain_key, ip_address=address) == "ip_not_allowed"


def test_a_key_that_is_over_is_told_apart_from_one_that_never_was(alice) -> None:
    body = alice.plain_key.rpartition("_")[0]
    other = body[:-1] + ("a" if body[-1] != "a" else "b")
    assert refused(f"{other}_{keys.checksum(other)}") == "unauthenticated"
    for over in ({"revoked_at": timezone.now()}, {"revoked_at": None, "expires_at": timezone.now()}):
        change(alice, **over)
        assert refused(alice.plain_key) == "key_expired"
        assert refused(f"{other}_{keys.checksum(other)}") == "unauthenticated"


def test_a_suspended_tenants_keys_open_nothing_and_others_do(alice, charlie) -> None:
    alice.tenant.suspended_at = timezone.now()
    alice.tenant.save()

    assert refused(alice.plain_key) == "tenant_suspended"
    assert keys.authenticate(charlie.plain_key) == charlie.key


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "{}"},
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer   {} "},
        {"X-API-Key": "{}", "Authorization": "Bearer nonsense"},
    ],
)
def test_where_a_key_may_stand(alice, headers) -> None:
    headers = {name: value.format(alice.plain_key) for name, value in headers.items()}

    assert APIClient().get(PROJECTS, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic {}"}, {"Authorization": "{}"}, {"X-API-Key": ""}])
def test_where_it_may_not(alice, headers) -> None:
    headers = {name: value.format(alice.plain_key) for name, value in headers.items()}
    answer = APIClient().get(PROJECTS, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"] == 'ApiKey realm="api"'


def test_each_request_needs_its_scope_and_no_other(alice) -> None:
    project = create(alice)
    change(alice, scopes=[Scope.PROJECTS_READ])
    assert alice.get(PROJECTS).status_code == 200
    answer = alice.post(project["urls"]["cancel"])
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert "projects:write" in answer.json()["detail"]
    change(alice, scopes=[Scope.PROJECTS_WRITE])
    assert alice.post(project["urls"]["cancel"]).status_code == 200
    assert alice.get(PROJECTS).status_code == 403


def test_a_checksum_has_six_characters_and_tells_typing_errors(alice) -> None:
    body, _, checksum = alice.plain_key.rpartition("_")

    assert len(checksum) == 6 and keys.checksum(body) == checksum
    assert keys.checksum("") == "000000"
    assert keys.checksum(body[:-1]) != checksum


def test_a_new_key_is_what_was_asked_for(alice) -> None:
    end = timezone.now() + timedelta(days=1)
    key, plain = keys.issue(
        alice.tenant, name="n", mode="test", scopes=[], expires_at=end, allowed_ips=["10.0.0.0/8"],
        rotated_from=alice.key,
    )  # fmt: skip
    key.refresh_from_db()

    assert keys.WELL_FORMED.fullmatch(plain) and plain.startswith("cf_test_")
    assert (key.name, key.mode, key.scopes, key.expires_at) == ("n", "test", [], end)
    assert (key.allowed_ips, key.rotated_from, key.tenant) == (["10.0.0.0/8"], alice.key, alice.tenant)
    assert key.is_test and key.is_usable


def test_networks_are_written_one_way() -> None:
    assert str(networks.parse_network(" 10.1.2.3/8 ")) == "10.0.0.0/8"
    with pytest.raises(ValueError):
        networks.parse_network("10.0.0.300")


# Usage as it is told.


def test_usage_in_groups_adds_up_to_the_whole(alice) -> None:
    finished_project(alice, parameters={"engine": "instant"}, user_id="one")
    finished_project(alice, user_id="two")
    create(alice, user_id="two")
    UsageEntry.objects.filter(tenant=alice.tenant, user_label="one").update(currency="EUR")
    rows = UsageEntry.objects.filter(tenant=alice.tenant)

    whole = reports.totals(rows.order_by("-created_at"))
    assert [(sums["currency"], sums["renders"], sums["billed_seconds"], sums["held_seconds"]) for sums in whole] == [
        ("EUR", 1, 2, 0),
        ("USD", 1, 2, 1),
    ]
    assert [(sums["user_id"], sums["currency"], sums["renders"]) for sums in reports.grouped(rows, ["user_id"])] == [
        ("one", "EUR", 1),
        ("two", "USD", 1),
    ]
    [dollars, euros] = reports.grouped(rows, ["day", "month", "key", "engine", "resolution"])
    moment = rows[0].created_at
    assert (euros["day"], euros["month"]) == (moment.date().isoformat(), moment.strftime("%Y-%m"))
    assert (euros["key"], euros["engine"], dollars["amount_micros"]) == (alice.key.prefix, "instant", 0)
    assert euros["amount_micros"] == 2000


def test_a_row_says_what_it_is(alice) -> None:
    finished_project(alice)
    create(alice)
    UsageEntry.objects.create(tenant=alice.tenant, billed_seconds=1, reason="x")
    rows = reports.with_key_prefix(UsageEntry.objects.filter(tenant=alice.tenant)).order_by("pk")

    assert [(row.kind, row.key_prefix) for row in rows] == [
        ("charge", alice.key.prefix),
        ("hold", alice.key.prefix),
        ("adjustment", ""),
    ]
