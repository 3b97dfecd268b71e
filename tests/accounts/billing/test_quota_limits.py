"""What may be held, settled and adjusted: exactly the limit, and one more."""

import uuid

import pytest

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import Plan, Tenant, UsageEntry, UsageThreshold, tenants

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]


def hold(tenant: Tenant, seconds: int = 1, **further) -> uuid.UUID:
    render_id = uuid.uuid4()
    arguments = {"api_key": None, "is_test": False, "engine": "instant", "resolution": "480p", **further}
    quota.hold(tenant, render_id=render_id, seconds=seconds, **arguments)
    return render_id


def entry(render_id: uuid.UUID) -> UsageEntry:
    return UsageEntry.objects.get(render_id=render_id)


def limit(tenant: Tenant, **limits: object) -> None:
    Plan.objects.filter(pk=tenant.plan_id).update(**limits)


def test_the_very_last_second_may_be_held_and_no_more(acme) -> None:
    limit(acme, monthly_seconds=10)
    hold(acme, 10)

    with pytest.raises(ServiceError, match="needs 1 s of video; 0 s are left") as refused:
        hold(acme, 1)
    assert refused.value.code == "quota_exceeded"


def test_nothing_left_is_never_told_as_less_than_nothing(acme) -> None:
    hold(acme, 10)
    limit(acme, monthly_seconds=4)

    with pytest.raises(ServiceError, match=" 0 s are left"):
        hold(acme, 1)


def test_the_very_cap_may_be_spent_and_no_more(acme) -> None:
    limit(acme, spend_cap_micros=5000)
    hold(acme, 5)

    with pytest.raises(ServiceError) as refused:
        hold(acme, 1)
    assert refused.value.code == "spend_cap_reached"


def test_a_test_key_holds_what_it_likes_and_pays_nothing(acme) -> None:
    limit(acme, monthly_seconds=0, spend_cap_micros=0)

    tested = hold(acme, 50, is_test=True)
    quota.set_hold(tested, 500)
    assert (entry(tested).reserved_seconds, entry(tested).price_micros, entry(tested).amount_micros) == (500, 0, 0)
    assert quota.seconds_available(acme) == 0 or quota.seconds_available(Tenant.objects.get(pk=acme.pk)) == 0
    assert not UsageThreshold.objects.filter(tenant=acme).exists()


def test_a_hold_has_what_was_agreed(acme, alice) -> None:
    held = entry(hold(acme, 7, api_key=alice.key, user_label="u"))

    assert (held.tenant, held.api_key, held.engine, held.resolution) == (acme, alice.key, "instant", "480p")
    assert (held.reserved_seconds, held.price_micros, held.amount_micros) == (7, 1000, 7000)
    assert (held.user_label, held.is_test, held.currency, held.billed_seconds) == ("u", False, "USD", None)
    assert held.settled_at is None


def test_growing_a_hold_needs_room_for_what_is_more_alone(acme) -> None:
    limit(acme, monthly_seconds=10)
    held = hold(acme, 6)
    quota.set_hold(held, 10)

    assert (entry(held).reserved_seconds, entry(held).amount_micros) == (10, 10_000)
    with pytest.raises(ServiceError, match="needs 1 s of video"):
        quota.set_hold(held, 11)
    assert entry(held).reserved_seconds == 10


def test_a_settled_hold_stays_as_it_is(acme) -> None:
    held = hold(acme, 6)
    quota.settle(held, seconds=5, gpu_seconds=1, cost_micros=3)
    before = UsageEntry.objects.values().get(render_id=held)

    quota.set_hold(held, 8)
    quota.settle(held, seconds=1, gpu_seconds=9, cost_micros=9)

    assert UsageEntry.objects.values().get(render_id=held) == before
    assert (before["billed_seconds"], before["amount_micros"], before["gpu_seconds"], before["cost_micros"]) == (
        5, 5000, 1, 3,
    )  # fmt: skip
    assert before["settled_at"] is not None


@pytest.mark.parametrize(("seconds", "billed"), [(-3, 0), (0, 0), (4, 4), (5, 5), (6, 5)])
def test_a_bill_is_between_nothing_and_the_hold(acme, seconds, billed) -> None:
    held, other = hold(acme, 5), hold(acme, 5)

    quota.settle(held, seconds=seconds, gpu_seconds=0)

    assert (entry(held).billed_seconds, entry(held).amount_micros) == (billed, billed * 1000)
    assert entry(other).billed_seconds is None


def test_a_release_notes_what_was_used_up_all_the_same(acme) -> None:
    held = hold(acme, 5)
    quota.release(held, gpu_seconds=2.5, cost_micros=7)

    assert (entry(held).billed_seconds, entry(held).gpu_seconds, entry(held).cost_micros) == (0, 2.5, 7)
    assert quota.seconds_available(acme) == 3600


@pytest.mark.parametrize(
    ("held", "percents"), [(79, set()), (80, {80}), (99, {80}), (100, {80, 100})]
)  # fmt: skip
def test_a_threshold_is_passed_where_it_is_reached(acme, held, percents) -> None:
    limit(acme, monthly_seconds=100)
    hold(acme, held)

    noted = UsageThreshold.objects.filter(tenant=acme)
    assert set(noted.values_list("percent", flat=True)) == percents
    assert {(row.measure, row.used, row.allowed) for row in noted} <= {("seconds", held, 100)}


@pytest.mark.parametrize(("seconds", "percents"), [(7, set()), (8, {80}), (10, {80, 100})])
def test_so_is_one_of_the_spend_cap(acme, seconds, percents) -> None:
    limit(acme, spend_cap_micros=10_000)
    hold(acme, seconds)

    noted = UsageThreshold.objects.filter(tenant=acme, measure="spend")
    assert {(row.percent, row.used, row.allowed) for row in noted} == {
        (percent, seconds * 1000, 10_000) for percent in percents
    }


def test_a_cap_of_nothing_has_no_thresholds(acme) -> None:
    limit(acme, spend_cap_micros=0, prices={"instant": {"480p": 0}})
    hold(acme)

    assert not UsageThreshold.objects.filter(tenant=acme).exists()


def test_money_of_another_currency_is_not_counted_against_the_cap(acme) -> None:
    limit(acme, spend_cap_micros=5000)
    UsageEntry.objects.filter(render_id=hold(acme, 5)).update(currency="EUR")

    assert entry(hold(acme, 5)).amount_micros == 5000


def test_all_that_was_used_can_be_given_back_and_no_more(acme) -> None:
    quota.settle(hold(acme, 5), seconds=5, gpu_seconds=0)

    back = quota.adjust(acme, seconds=-5, amount_micros=-5000, reason=" sorry ", author=None)

    assert (back.billed_seconds, back.amount_micros, back.reason, back.currency) == (-5, -5000, "sorry", "USD")
    assert back.render_id is None
    back.refresh_from_db()
    assert back.settled_at is not None
    assert quota.seconds_available(acme) == 3600
    for amounts in ({"seconds": -1, "amount_micros": 0}, {"seconds": 0, "amount_micros": -1}):
        with pytest.raises(ServiceError) as refused:
            quota.adjust(acme, reason="x", author=None, **amounts)
        assert refused.value.code == "invalid"


@pytest.mark.parametrize(("arguments", "param"), [((0, 0, "x"), "seconds"), ((1, 0, "  "), "reason")])
def test_an_adjustment_changes_something_for_a_reason(acme, arguments, param) -> None:
    seconds, amount, reason = arguments
    with pytest.raises(ServiceError) as refused:
        quota.adjust(acme, seconds=seconds, amount_micros=amount, reason=reason, author=None)

    assert (refused.value.code, refused.value.param) == ("invalid", param)
    assert not UsageEntry.objects.filter(tenant=acme).exists()


@pytest.mark.parametrize("arguments", [(1, 0), (0, 1), (0, -0)])
def test_seconds_or_money_are_enough(acme, arguments) -> None:
    seconds, amount = arguments
    if not any(arguments):
        return
    assert quota.adjust(acme, seconds=seconds, amount_micros=amount, reason="x", author=None).pk


def test_so_many_renders_may_be_asked_for_in_a_month_the_canceled_ones_included(acme, monkeypatch) -> None:
    monkeypatch.setattr(tenants, "FREE_RENDERS", 2)
    limit(acme, monthly_seconds=3)
    for _ in range(5):
        quota.release(hold(acme), gpu_seconds=0)
    quota.adjust(acme, seconds=1, amount_micros=0, reason="no render", author=None)
    for _ in range(2):
        hold(acme, is_test=True)

    with pytest.raises(ServiceError, match="live keys may start 5 renders") as refused:
        hold(acme)
    assert refused.value.code == "quota_exceeded"
    with pytest.raises(ServiceError, match="test keys may start 2 renders"):
        hold(acme, is_test=True)

    UsageEntry.objects.filter(tenant=acme).update(created_at="2026-01-31T23:59:59Z")  # Of another month.
    hold(acme)
    hold(acme, is_test=True)
