"""Lists in a request are bounded before they are looked at, and what is given twice counts once."""

import json

import pytest

from accounts.models import ApiKey, Scope
from projects.models.webhooks import WebhookEndpoint

pytestmark = pytest.mark.django_db
KEYS, ENDPOINTS = "/api/v1/keys", "/api/v1/webhook-endpoints"
CASES = [
    (KEYS, {"name": "x"}, "scopes", "usage:read"),
    (KEYS, {"name": "x"}, "allowed_ips", "10.0.0.1"),
    (ENDPOINTS, {"url": "https://example.com/hook"}, "events", "project.failed"),
]


@pytest.fixture(autouse=True)
def _all_scopes(alice, charlie) -> None:
    ApiKey.objects.update(scopes=list(Scope))
    charlie.post(KEYS, {"name": "hers"}, format="json")


@pytest.mark.parametrize(("url", "base", "field", "value"), CASES)
@pytest.mark.parametrize("number", [51, 5000])
def test_a_list_without_end_is_refused(alice, url, base, field, value, number) -> None:
    before = ApiKey.objects.count()
    answer = alice.post(url, {**base, field: [value] * number}, format="json")

    told = answer.json()
    assert (answer.status_code, told["param"]) == (422, field)
    assert [error["code"] for error in told["errors"]] == ["max_length"]
    assert (ApiKey.objects.count(), WebhookEndpoint.objects.count()) == (before, 0)


@pytest.mark.parametrize(("url", "base", "field", "value"), CASES)
def test_what_is_given_twice_counts_once(alice, url, base, field, value) -> None:
    answer = alice.post(url, {**base, field: [value] * 50}, format="json")

    assert answer.status_code == 201
    assert len(answer.json()[field]) == 1


@pytest.mark.parametrize("hours", ["nan", "inf", 10**400, 1e308, -1])
def test_a_number_that_is_none_is_refused(alice, hours) -> None:
    answer = alice.post(f"{KEYS}/{alice.key.pk}/rotate", {"overlap_hours": hours}, format="json")

    assert (answer.status_code, answer.json()["param"]) == (422, "overlap_hours")


def test_an_answer_does_not_repeat_what_was_sent_without_end(alice) -> None:
    # json.dumps escapes everything, so that half surrogates get to the server at all.
    body = json.dumps({"name": "x", "scopes": ["\ud800" + "garbage" * 1000] * 50})
    answer = alice.post(KEYS, body, content_type="application/json")

    assert answer.status_code == 422
    assert len(answer.content) < 30_000
