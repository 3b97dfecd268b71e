"""`POST /projects?dry_run=true`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django_q.models import OrmQ

from accounts.models import IdempotentResponse, Plan, UsageEntry
from projects.models import Project
from render.estimates import queue_snapshot
from render.models import Render
from tests.prices import full_prices
from tests.projects.steps import NEW, PROJECTS, claim, create

DRY = f"{PROJECTS}?dry_run=true"


@pytest.fixture
def priced(plan) -> Plan:
    plan.prices = full_prices(draft={"480p": 2000, "720p": 5000})
    plan.save()
    return plan


def test_it_tells_the_price_and_writes_nothing(alice, priced):
    create(alice)
    body = {**NEW, "parameters": {"frame_num": 101, "resolution": "720p"}, "colour": "red"}

    answer = alice.post(DRY, body, format="json", headers={"Idempotency-Key": "once"})

    told = answer.json()
    assert answer.status_code == 200
    assert told["price"] == {"currency": "USD", "micros_per_second": 5000, "seconds": 5, "amount_micros": 25_000}
    assert told["seconds_available"] == 3600 - 1 - 5
    assert (told["dry_run"], told["engine"], told["type"]) == (True, "draft", "single_person")
    assert (told["queue_position"], told["waiting_reason"]) == (2, "behind_others")
    assert told["eta_seconds"] > 0
    assert [warning["param"] for warning in told["warnings"]] == ["colour"]
    counts = [model.objects.count() for model in (Project, Render, UsageEntry, OrmQ, IdempotentResponse)]
    assert counts == [1, 1, 1, 1, 0]


def test_without_a_forced_length_the_price_is_by_the_second(alice, priced):
    told = alice.post(DRY, NEW, format="json").json()

    assert told["price"] == {"currency": "USD", "micros_per_second": 2000, "seconds": None, "amount_micros": None}


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"title": ""}, 422, "invalid"),
        ({"parameters": {"engine": "unknown"}}, 422, "engine_unavailable"),
        ({"parameters": {"frame_num": 90_001}}, 402, "quota_exceeded"),
    ],
)
def test_it_refuses_what_would_be_refused(alice, fields, status, code):
    refused = alice.post(DRY, {**NEW, **fields}, format="json")

    assert (refused.status_code, refused.json()["code"]) == (status, code)


@pytest.fixture
def look_again(settings, monkeypatch) -> Callable[[], None]:
    """As in a service that runs, what is seen of the queues is kept, but here until this is called."""
    settings.ESTIMATE_SECONDS = 600

    def forget() -> None:
        monkeypatch.setattr(queue_snapshot, "_snapshot", None)

    forget()
    return forget


@pytest.mark.usefixtures("look_again")
def test_it_does_not_count_itself_as_waiting(alice, charlie):
    for caller in (alice, alice, charlie, alice):
        told = caller.post(DRY, NEW, format="json").json()
        assert (told["queue_position"], told["waiting_reason"]) == (1, "next")

    shown = alice.get(create(alice)["urls"]["status"]).json()
    assert (shown["queue_position"], shown["waiting_reason"]) == (1, "next")


@pytest.mark.usefixtures("look_again")
def test_nobody_sees_it_though_what_is_seen_grows_old_meanwhile(alice, charlie, settings):
    settings.ESTIMATE_SECONDS = 0
    alice.post(DRY, NEW, format="json")
    settings.ESTIMATE_SECONDS = 600

    told = charlie.post(DRY, NEW, format="json").json()
    assert (told["queue_position"], told["waiting_reason"]) == (1, "next")


def test_its_place_is_behind_those_who_wait(alice, charlie, look_again):
    for caller in (alice, charlie, alice):
        create(caller)
    look_again()

    for _ in range(2):
        told = charlie.post(DRY, NEW, format="json").json()
        assert (told["queue_position"], told["waiting_reason"]) == (4, "behind_others")


def test_it_knows_its_tenant_s_limit_though_nothing_of_it_waits(alice, plan, look_again):
    plan.max_concurrent = 1
    plan.save()
    create(alice)
    claim()
    look_again()

    assert alice.post(DRY, NEW, format="json").json()["waiting_reason"] == "concurrency_limit"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seconds", [0, 600])
def test_many_at_once_do_not_see_one_another(alice, settings, monkeypatch, seconds):
    settings.ESTIMATE_SECONDS = seconds
    monkeypatch.setattr(queue_snapshot, "_snapshot", None)

    def ask(_: int) -> tuple[int, str]:
        try:
            told = alice.post(DRY, NEW, format="json").json()
            return told["queue_position"], told["waiting_reason"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(12))) == {(1, "next")}


@pytest.mark.parametrize("value", ["false", "0", ""])
def test_it_can_be_switched_off(alice, value):
    assert alice.post(f"{PROJECTS}?dry_run={value}", NEW, format="json").status_code == 201


@pytest.mark.parametrize("query", ["dryrun=true", "dry-run=true", "dry_run=true&notify=no"])
def test_a_misspelled_query_starts_no_render(alice, query):
    response = alice.post(f"{PROJECTS}?{query}", NEW, format="json")

    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert "There is no such query parameter. Known ones: dry_run." in response.json()["detail"]
    assert not Render.objects.exists()
