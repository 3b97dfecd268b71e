"""Windows and expiries of accounts, just before and just after: the database's clock is set."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts.api import request_rates
from accounts.api_keys import keys
from accounts.billing import quota, reports
from accounts.errors import ServiceError
from accounts.models import ApiKey, Plan, UsageEntry, UsageThreshold
from accounts.periods import Period, next_month
from tests.projects.steps import NEW, PROJECTS, create

pytestmark = pytest.mark.usefixtures("neighbour")

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "taken", "left"),
    [(0, 2, 60), (0.25, 2, 60), (1, 2, 59), (30, 2, 30), (58.5, 2, 2), (59.9, 2, 1), (60, 1, 60), (60.5, 1, 60)],
)
def test_a_window_is_the_clocks_minute(alice, clock, seconds, taken, left) -> None:
    clock.set(NOON)
    request_rates.count_request(alice.tenant, "read")
    clock.set(NOON + timedelta(seconds=seconds))

    window = request_rates.count_request(alice.tenant, "read")

    assert (window.count, window.seconds_left) == (taken, left)


def test_requests_are_counted_all_minute_long(alice, clock) -> None:
    for second in range(0, 60, 7):
        clock.set(NOON + timedelta(seconds=second))
        window = request_rates.count_request(alice.tenant, "create")

    assert window.count == 9


@pytest.mark.parametrize(("second", "wait"), [(0, "60"), (20, "40"), (59.5, "1")])
def test_it_is_told_when_to_come_again(alice, plan, clock, second, wait) -> None:
    plan.creates_per_minute = 1
    plan.save()
    clock.set(NOON)
    assert alice.post(PROJECTS, NEW, format="json").status_code == 201
    clock.set(NOON + timedelta(seconds=second))

    refused = alice.post(PROJECTS, NEW, format="json")
    assert (refused.status_code, refused["Retry-After"]) == (429, wait)
    clock.advance(timedelta(seconds=int(wait)))
    assert alice.post(PROJECTS, NEW, format="json").status_code == 201


def test_the_last_request_of_a_window_is_allowed(alice, plan, clock) -> None:
    plan.requests_per_minute = 2
    clock.set(NOON)
    windows = [request_rates.count_request(alice.tenant, "read") for _ in range(3)]

    assert [(window.allowed, window.remaining) for window in windows] == [(True, 1), (True, 0), (False, 0)]


@pytest.mark.parametrize(("hours", "status"), [(7 * 24 - 1, 200), (7 * 24 + 1, 201)])
def test_a_repeated_request_is_known_for_seven_days(alice, clock, hours, status) -> None:
    headers = {"Idempotency-Key": "once"}
    first = alice.post(PROJECTS, NEW, format="json", headers=headers)
    clock.advance(timedelta(hours=hours))

    again = alice.post(PROJECTS, NEW, format="json", headers=headers)

    assert again.status_code == 201
    assert (again.json()["id"] == first.json()["id"]) == (status == 200)


def test_a_key_is_good_until_its_very_expiry(alice, clock) -> None:
    end = timezone.now() + timedelta(days=1)
    ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=end)

    clock.set(end - timedelta(microseconds=1))
    assert keys.authenticate(alice.plain_key) == alice.key
    clock.set(end)
    with pytest.raises(ServiceError) as refused:
        keys.authenticate(alice.plain_key)
    assert refused.value.code == "key_expired"


@pytest.mark.parametrize("expires_in", [None, timedelta(hours=1), timedelta(days=30)])
def test_a_rotated_key_opens_for_the_overlap_and_never_longer_than_before(alice, expires_in) -> None:
    before = timezone.now() + expires_in if expires_in else None
    ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=before, allowed_ips=["10.0.0.0/8"], legacy_200=True)

    successor, plain = keys.rotate(alice.key, overlap=timedelta(hours=2), expires_at=None)

    alice.key.refresh_from_db()
    successor.refresh_from_db()
    overlap = alice.key.expires_at - timezone.now()
    assert (
        timedelta(minutes=50) < overlap < timedelta(hours=1, minutes=1)
        if expires_in == timedelta(hours=1)
        else (timedelta(hours=1, minutes=50) < overlap < timedelta(hours=2, minutes=1))
    )
    assert (successor.allowed_ips, successor.legacy_200, successor.rotated_from) == (["10.0.0.0/8"], True, alice.key)
    assert (successor.scopes, successor.mode) == (alice.key.scopes, alice.key.mode)


def test_a_revocation_keeps_its_first_moment(alice) -> None:
    long_ago = timezone.now() - timedelta(days=3)
    ApiKey.objects.filter(pk=alice.key.pk).update(revoked_at=long_ago)

    assert keys.revoke(alice.key) is False
    alice.key.refresh_from_db()
    assert alice.key.revoked_at == long_ago


@pytest.mark.parametrize(("minutes", "noted"), [(None, True), (0.5, False), (1.5, True)])
def test_use_is_noted_once_a_minute(alice, minutes, noted) -> None:
    used = timezone.now() - timedelta(minutes=minutes) if minutes else None
    ApiKey.objects.filter(pk=alice.key.pk).update(last_used_at=used)

    alice.get(PROJECTS)

    alice.key.refresh_from_db()
    assert (alice.key.last_used_at != used) == noted


def test_the_months_first_moment_counts_and_the_one_before_does_not(alice, clock) -> None:
    create(alice)
    start = datetime(2026, 5, 1, tzinfo=UTC)
    clock.set(datetime(2026, 5, 20, tzinfo=UTC))
    UsageEntry.objects.filter(tenant=alice.tenant).update(created_at=start)
    assert quota.seconds_available(alice.tenant, at=clock.now) == 3599
    UsageEntry.objects.filter(tenant=alice.tenant).update(created_at=start - timedelta(microseconds=1))
    assert quota.seconds_available(alice.tenant, at=clock.now) == 3600


def test_a_threshold_is_of_the_month_in_which_it_was_passed(alice) -> None:
    Plan.objects.filter(pk=alice.tenant.plan_id).update(monthly_seconds=1)
    create(alice)

    months = set(UsageThreshold.objects.filter(tenant=alice.tenant).values_list("month", flat=True))
    assert months == {timezone.now().date().replace(day=1)}


@pytest.mark.parametrize(
    ("first", "following"),
    [
        (date(2026, 1, 31), date(2026, 2, 1)),
        (date(2026, 11, 1), date(2026, 12, 1)),
        (date(2026, 12, 5), date(2027, 1, 1)),
    ],
)
def test_a_month_ends_where_the_next_begins(first, following) -> None:
    assert Period.month(first) == Period(first.replace(day=1), following)
    assert next_month(first) == following


def test_a_period_has_its_first_moment_and_not_its_end(alice) -> None:
    create(alice)
    period = Period(date(2026, 5, 1), date(2026, 6, 1))
    start, end = period.bounds
    assert (start, end) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
    inside = {start: 1, end - timedelta(microseconds=1): 1, end: 0, start - timedelta(microseconds=1): 0}

    for moment, number in inside.items():
        UsageEntry.objects.filter(tenant=alice.tenant).update(created_at=moment)
        assert quota.entries(alice.tenant, period, is_test=False).count() == number, moment


def test_rows_in_chunks_are_all_rows_in_order(alice) -> None:
    for _ in range(5):
        create(alice)
    mine = UsageEntry.objects.filter(tenant=alice.tenant)

    assert [row.pk for row in reports.chunked(mine, size=2)] == sorted(mine.values_list("pk", flat=True))
    assert [row.pk for row in reports.chunked(mine, size=5)] == sorted(mine.values_list("pk", flat=True))


def test_an_expired_key_has_no_successor(alice) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=Now())

    with pytest.raises(ServiceError) as refused:
        keys.rotate(alice.key, overlap=timedelta(hours=1), expires_at=None)

    assert refused.value.code == "invalid_state"
