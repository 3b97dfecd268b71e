"""A row counts in the month of its `created_at`, whenever it is raised or settled. Months are those of UTC."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import DateTimeField, Value

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import Plan, Tenant, UsageEntry

pytestmark = pytest.mark.django_db

LAST_MINUTE = datetime(2026, 11, 30, 23, 59, 30, tzinfo=UTC)
NEXT_MONTH = datetime(2026, 12, 1, 0, 0, 0, tzinfo=UTC)


@pytest.fixture
def at(monkeypatch):
    """Set the time of the database, as far as `quota` asks for it."""

    def set_time(moment: datetime) -> None:
        monkeypatch.setattr(quota, "Now", lambda: Value(moment, output_field=DateTimeField()))

    return set_time


@pytest.fixture(autouse=True)
def _limits(acme, charlie) -> None:
    """Ten seconds and 10,000 micros a month, of which the stranger has used all in both months."""
    Plan.objects.update(monthly_seconds=10, spend_cap_micros=10_000)
    for moment in (LAST_MINUTE, NEXT_MONTH):
        UsageEntry.objects.create(
            tenant=charlie.tenant, render_id=uuid.uuid4(), reserved_seconds=10, amount_micros=10_000, created_at=moment
        )


def hold(tenant: Tenant, seconds: int, engine: str = "instant") -> uuid.UUID:
    render_id = uuid.uuid4()
    quota.hold(
        tenant, render_id=render_id, api_key=None, is_test=False, engine=engine, resolution="480p", seconds=seconds
    )
    return render_id


def left(tenant: Tenant) -> tuple[int, int]:
    """Seconds of the old and of the new month."""
    tenant = Tenant.objects.get(pk=tenant.pk)  # Its plan was changed.
    return quota.seconds_available(tenant, at=LAST_MINUTE), quota.seconds_available(tenant, at=NEXT_MONTH)


def test_a_hold_is_raised_within_the_month_in_which_it_was_booked(acme, at) -> None:
    at(LAST_MINUTE)
    hold(acme, 8)
    late = hold(acme, 1)
    at(NEXT_MONTH)

    with pytest.raises(ServiceError) as caught:
        quota.set_hold(late, 3)  # The new month has ten seconds, and would not be asked for one of them.
    assert caught.value.code == "quota_exceeded"
    assert "1 s are left of 2026-11" in caught.value.detail
    quota.set_hold(late, 2)

    assert left(acme) == (0, 10)


def test_a_full_new_month_does_not_refuse_what_the_old_one_has_room_for(acme, at) -> None:
    at(LAST_MINUTE)
    late = hold(acme, 1)
    at(NEXT_MONTH)
    hold(acme, 10)

    quota.set_hold(late, 10)

    assert left(acme) == (0, 0)
    assert UsageEntry.objects.get(render_id=late).reserved_seconds == 10


def test_the_spend_cap_is_that_of_the_month_of_the_hold(acme, at) -> None:
    Plan.objects.update(monthly_seconds=1000)
    at(LAST_MINUTE)
    hold(acme, 8)
    late = hold(acme, 1)
    at(NEXT_MONTH)

    with pytest.raises(ServiceError) as caught:
        quota.set_hold(late, 3)
    assert caught.value.code == "spend_cap_reached"
    quota.set_hold(late, 2)
    hold(acme, 10)
    with pytest.raises(ServiceError):
        hold(acme, 1)


def test_the_new_month_begins_at_midnight_utc_with_all_its_seconds(acme, at) -> None:
    at(NEXT_MONTH - timedelta(microseconds=1))
    hold(acme, 10)
    with pytest.raises(ServiceError):
        hold(acme, 1)
    at(NEXT_MONTH)

    hold(acme, 10)

    moments = UsageEntry.objects.filter(tenant=acme).order_by("pk").values_list("created_at", flat=True)
    assert list(moments) == [NEXT_MONTH - timedelta(microseconds=1), NEXT_MONTH]
    assert left(acme) == (0, 0)


def test_another_time_zone_moves_no_month(acme, at, settings) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"  # There, December has begun.
    at(LAST_MINUTE)
    hold(acme, 10)

    assert left(acme) == (0, 10)


def test_what_is_settled_later_is_billed_in_its_own_month(acme, at) -> None:
    at(LAST_MINUTE)
    late = hold(acme, 9)
    at(NEXT_MONTH + timedelta(days=2))

    quota.settle(late, seconds=4, gpu_seconds=1)

    assert left(acme) == (6, 10)


def test_a_threshold_is_noted_for_the_month_that_has_passed_it(acme, at) -> None:
    at(LAST_MINUTE)
    late = hold(acme, 1)
    at(NEXT_MONTH)
    hold(acme, 7)
    assert not acme.usage_thresholds.exists()

    quota.set_hold(late, 8)

    noted = acme.usage_thresholds.order_by("pk").values_list("measure", "percent", "used")
    assert {row.month for row in acme.usage_thresholds.all()} == {LAST_MINUTE.date().replace(day=1)}
    assert list(noted) == [("seconds", 80, 8), ("spend", 80, 8000)]


def test_an_adjustment_corrects_the_month_in_which_it_is_made(acme, at) -> None:
    at(LAST_MINUTE)
    quota.settle(hold(acme, 5), seconds=5, gpu_seconds=0)
    at(NEXT_MONTH)
    with pytest.raises(ServiceError) as caught:
        quota.adjust(acme, seconds=-1, amount_micros=0, reason="late", author=None)
    assert caught.value.param == "seconds"
    at(LAST_MINUTE)

    credit = quota.adjust(acme, seconds=-1, amount_micros=-1000, reason="in time", author=None)

    assert (credit.created_at, credit.settled_at) == (LAST_MINUTE, LAST_MINUTE)
    assert left(acme) == (6, 10)
