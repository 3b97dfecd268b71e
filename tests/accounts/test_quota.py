import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from accounts import quota
from accounts.errors import ServiceError
from accounts.models import Plan, Tenant, UsageEntry


def hold(tenant: Tenant, engine: str = "instant") -> uuid.UUID:
    render_id = uuid.uuid4()
    quota.hold(tenant, render_id=render_id, api_key=None, engine=engine, resolution="480p")
    return render_id


def entry(render_id: uuid.UUID) -> UsageEntry:
    return UsageEntry.objects.get(render_id=render_id)


@pytest.mark.django_db
def test_a_hold_counts_until_it_is_settled(acme) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 100)
    assert quota.seconds_available(acme) == 3500

    quota.settle(render_id, seconds=40, gpu_seconds=7)

    assert quota.seconds_available(acme) == 3560
    assert (entry(render_id).amount_micros, entry(render_id).gpu_seconds) == (40_000, 7)


@pytest.mark.django_db
def test_a_released_hold_costs_nothing(acme) -> None:
    render_id = hold(acme)

    quota.release(render_id, gpu_seconds=3)

    assert quota.seconds_available(acme) == 3600
    assert (entry(render_id).billed_seconds, entry(render_id).amount_micros) == (0, 0)


@pytest.mark.django_db
def test_it_bills_once(acme) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 100)
    quota.settle(render_id, seconds=40, gpu_seconds=0)

    quota.settle(render_id, seconds=90, gpu_seconds=0)
    quota.release(render_id, gpu_seconds=0)

    assert entry(render_id).billed_seconds == 40


@pytest.mark.django_db
def test_it_never_bills_more_than_was_held(acme) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 10)

    quota.settle(render_id, seconds=11, gpu_seconds=0)

    assert entry(render_id).billed_seconds == 10


@pytest.mark.django_db
def test_the_database_refuses_a_second_row_for_a_render(acme) -> None:
    render_id = hold(acme)

    with pytest.raises(IntegrityError), transaction.atomic():
        quota.hold(acme, render_id=render_id, api_key=None, engine="instant", resolution="480p")


@pytest.mark.django_db
def test_a_hold_cannot_grow_past_the_months_seconds(acme) -> None:
    render_id = hold(acme)

    with pytest.raises(ServiceError) as caught:
        quota.set_hold(render_id, 3601)

    assert caught.value.code == "quota_exceeded"
    assert entry(render_id).reserved_seconds == 1


@pytest.mark.django_db
def test_last_months_seconds_are_forgotten(acme) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 3600)
    UsageEntry.objects.update(created_at=Now() - timedelta(days=32))

    assert quota.seconds_available(acme) == 3600


@pytest.mark.django_db
def test_the_spend_cap_holds_but_lets_free_renders_pass(acme) -> None:
    Plan.objects.update(spend_cap_micros=500)

    with pytest.raises(ServiceError) as caught:
        hold(acme)
    hold(acme, engine="draft")

    assert caught.value.code == "spend_cap_reached"


@pytest.mark.django_db(transaction=True)
def test_the_last_seconds_are_spent_once(acme) -> None:
    Plan.objects.update(monthly_seconds=3)

    def try_to_hold(_: int) -> bool:
        try:
            hold(acme)
            return True
        except ServiceError:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(try_to_hold, range(20)))

    assert accepted.count(True) == 3
