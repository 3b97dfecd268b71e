"""`Idempotency-Key` on the endpoints that do something."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from accounts.models import ApiKey, IdempotentResponse, UsageEntry
from projects.models import Project
from render.models import Render
from tests.conftest import Caller
from tests.projects.steps import NEW, PROJECTS, claim, create, finish


def post(caller, key: str, url: str = PROJECTS, **fields):
    return caller.post(url, {**NEW, **fields}, format="json", headers={"Idempotency-Key": key})


def test_the_same_request_has_the_effect_of_one(alice):
    first, second = post(alice, "once"), post(alice, "once")

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second["Location"] == first["Location"]
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert (Project.objects.count(), Render.objects.count(), UsageEntry.objects.count()) == (1, 1, 1)


def test_another_request_with_the_same_key_is_refused(alice):
    post(alice, "once")

    refused = post(alice, "once", title="Another")

    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert Project.objects.count() == 1


def test_the_order_of_members_does_not_matter(alice):
    body = {**NEW, "title": "x"}
    for members in (body, dict(reversed(body.items()))):
        answer = alice.post(PROJECTS, members, format="json", headers={"Idempotency-Key": "once"})
        assert answer.status_code == 201

    assert Project.objects.count() == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, '"', '""'])
def test_a_key_has_its_form(alice, key):
    refused = post(alice, key)

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_idempotency_key")
    assert not Project.objects.exists()


def test_a_quoted_key_is_the_same_key(alice):
    post(alice, "a.b_c:d~e-1")

    assert post(alice, '"a.b_c:d~e-1"')["Idempotency-Replayed"] == "true"


def test_it_is_the_tenants_not_the_api_keys(alice, bob, charlie):
    post(alice, "once")

    assert post(bob, "once")["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in post(charlie, "once")
    assert Project.objects.count() == 2


def test_what_was_refused_may_be_asked_for_again(alice, plan):
    plan.monthly_seconds = 0
    plan.save()
    assert post(alice, "once").status_code == 402
    assert post(alice, "once", title="").status_code == 422
    plan.monthly_seconds = 3600
    plan.save()

    assert post(alice, "once").status_code == 201


def test_after_a_week_the_key_is_forgotten(alice):
    post(alice, "once")
    IdempotentResponse.objects.update(created_at=Now() - timedelta(days=7, seconds=1))

    assert "Idempotency-Replayed" not in post(alice, "once", title="Another")
    assert IdempotentResponse.objects.count() == 1


def test_one_key_for_two_endpoints_is_two_keys_and_for_two_projects_a_mistake(alice):
    first, second = create(alice, parameters={"engine": "draft"}), create(alice)
    headers = {"Idempotency-Key": "once"}
    finish(claim())

    assert alice.post(first["urls"]["finalize"], headers=headers).status_code == 202
    assert alice.post(first["urls"]["finalize"], headers=headers)["Idempotency-Replayed"] == "true"
    assert alice.post(second["urls"]["cancel"], headers=headers).status_code == 200
    reused = alice.post(first["urls"]["cancel"], headers=headers)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


def test_what_can_be_asked_for_again_and_again_is_not_kept_but_shown_as_it_is(alice, charlie):
    script = "Hello, and welcome. " * 2000
    created = post(alice, "once", audio_url=None, script=script, title="Mine").json()
    cancel, retry = created["urls"]["cancel"], created["urls"]["retry"]
    answers = [alice.post(cancel, headers={"Idempotency-Key": f"cancel-{number}"}) for number in range(5)]
    answers.append(alice.post(retry, headers={"Idempotency-Key": "retry"}))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 202]
    assert answers[0].json()["script"] == script.strip()

    kept = IdempotentResponse.objects.filter(key__contains="cancel-") | IdempotentResponse.objects.filter(key="retry")
    assert [row.body for row in kept] == [{"id": created["id"]}] * 6
    again = alice.post(cancel, headers={"Idempotency-Key": "cancel-0"})
    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert again.json() == alice.get(created["urls"]["self"]).json()
    assert (again.json()["state"], again.json()["takes"][0]["state"]) == ("queued", "canceled")
    assert alice.post(retry, headers={"Idempotency-Key": "retry"}).status_code == 202
    assert Render.objects.count() == 2

    # Of what was created the very answer is kept, and a stranger's key is another one.
    first = post(alice, "once", audio_url=None, script=script, title="Mine")
    assert (first.status_code, first.json()) == (201, created)
    assert charlie.post(cancel, headers={"Idempotency-Key": "cancel-0"}).status_code == 404


def test_of_a_deleted_project_nothing_is_shown_again(alice):
    created = create(alice)
    alice.post(created["urls"]["cancel"], headers={"Idempotency-Key": "once"})
    alice.delete(created["urls"]["self"])

    assert alice.post(created["urls"]["cancel"], headers={"Idempotency-Key": "once"}).status_code == 404


def test_so_many_keys_are_kept_of_a_tenant_and_no_more(alice, charlie, plan, monkeypatch):
    monkeypatch.setattr("accounts.models.tenants.FREE_RENDERS", 1)
    monkeypatch.setattr("accounts.api.idempotency.KEYS_PER_RENDER", 1)
    plan.monthly_seconds = 1
    plan.save()
    url = create(alice)["urls"]["cancel"]
    tester = Caller(alice.tenant, "tester")
    ApiKey.objects.filter(pk=tester.key.pk).update(mode=ApiKey.Mode.TEST)
    for number in range(2):
        assert alice.post(url, headers={"Idempotency-Key": f"key-{number}"}).status_code == 200
        # Half of them are there for live keys.
        assert post(tester, "key-of-test").json()["code"] == "too_many_idempotency_keys"

    refused = alice.post(url, headers={"Idempotency-Key": "key-2"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_idempotency_keys")
    assert "Retry-After" in refused
    assert alice.post(url, headers={"Idempotency-Key": "key-0"})["Idempotency-Replayed"] == "true"
    assert alice.post(url).status_code == 200
    assert post(charlie, "key-2").status_code == 201
    assert IdempotentResponse.objects.filter(tenant=alice.tenant).count() == 2


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_make_one_project_and_one_hold(acme, plan):
    callers = [Caller(acme, str(number)) for number in range(20)]

    def send(caller) -> int:
        try:
            return post(caller, "once").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        statuses = set(pool.map(send, callers))

    # A replay, or told to come again.
    assert 201 in statuses <= {201, 409}
    assert (Project.objects.count(), Render.objects.count(), UsageEntry.objects.count()) == (1, 1, 1)
    assert post(callers[0], "once")["Idempotency-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_fifty_posts_at_once_with_quota_for_one(acme, plan):
    plan.monthly_seconds = 5
    plan.save()
    callers = [Caller(acme, str(number)) for number in range(50)]

    def send(caller) -> int:
        try:
            return caller.post(PROJECTS, {**NEW, "parameters": {"frame_num": 101}}, format="json").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(50) as pool:
        statuses = sorted(pool.map(send, callers))

    assert statuses == [201, *[402] * 49]
    assert (Project.objects.count(), UsageEntry.objects.get().reserved_seconds) == (1, 5)
