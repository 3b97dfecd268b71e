"""Requests a minute."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.api import request_rates
from accounts.models import RequestWindow
from tests.projects.steps import NEW, PROJECTS


@pytest.fixture
def within_a_minute(clock):
    """No minute may begin in the middle of a test."""
    clock.set(timezone.now().replace(second=10))


def test_the_answer_to_a_counted_request_tells_what_is_left(alice, plan, within_a_minute):
    plan.requests_per_minute, plan.creates_per_minute, plan.max_concurrent = 100, 10, 3
    plan.save()

    answers = [
        alice.get(PROJECTS),
        alice.get(f"{PROJECTS}/unknown"),
        alice.post(PROJECTS, NEW, format="json"),
    ]

    policy = '"create";q=10;w=60, "read";q=100;w=60, "gpu";q=3;qu="concurrent-requests"'
    assert [answer["RateLimit-Policy"] for answer in answers] == [policy] * 3
    left = [re.sub(r";t=\d+$", "", answer["RateLimit"]) for answer in answers]
    assert left == ['"read";r=99', '"read";r=98', '"create";r=9']


def test_a_request_without_an_accepted_key_and_scope_is_not_counted(anonymous, alice):
    alice.key.scopes = ["usage:read"]
    alice.key.save(update_fields=["scopes"])

    refused = [anonymous.get(PROJECTS), alice.get(PROJECTS)]

    assert [answer.status_code for answer in refused] == [401, 403]
    assert not any("RateLimit" in answer or "RateLimit-Policy" in answer for answer in refused)
    assert not RequestWindow.objects.exists()


def test_too_many_requests_are_refused_until_the_minute_is_over(alice, plan, within_a_minute):
    plan.creates_per_minute = 2
    plan.save()
    statuses = [alice.post(PROJECTS, NEW, format="json").status_code for _ in range(2)]

    refused = alice.post(PROJECTS, NEW, format="json")

    assert statuses == [201, 201]
    body = refused.json()
    assert (refused.status_code, body["code"], body["violated-policies"]) == (429, "rate_limited", ["create"])
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert 0 < int(refused["Retry-After"]) <= 60
    assert refused["RateLimit"].startswith('"create";r=0;t=')
    assert alice.get(PROJECTS).status_code == 200
    RequestWindow.objects.update(started_at=timezone.now() - timedelta(minutes=2))
    assert alice.post(PROJECTS, NEW, format="json").status_code == 201


def test_tenants_do_not_share_a_rate_and_keys_of_one_do(alice, bob, charlie, plan, within_a_minute):
    plan.requests_per_minute = 1
    plan.save()

    assert [caller.get(PROJECTS).status_code for caller in (alice, bob, charlie)] == [200, 429, 200]


@pytest.mark.django_db(transaction=True)
def test_requests_at_once_are_all_counted(acme, within_a_minute):
    def take(number: int) -> int:
        try:
            return request_rates.count_request(acme, "read").count
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        taken = sorted(pool.map(take, range(40)))

    assert taken == list(range(1, 41))
