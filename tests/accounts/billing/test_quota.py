import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import Plan, Tenant, UsageEntry
from tests.prices import full_prices


def hold(tenant: Tenant, engine: str = "instant") -> uuid.UUID:
    render_id = uuid.uuid4()
    with transaction.atomic():
        quota.hold(tenant, render_id=render_id, api_key=None, is_test=False, engine=engine, resolution="480p")
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
def test_the_price_of_upscaling_stays_with_the_hold_and_the_charge(acme, plan) -> None:
    plan.prices = {**plan.prices, "upscale": {"1080p": 200}}
    plan.save()
    held = quota.hold(
        acme,
        render_id=uuid.uuid4(),
        api_key=None,
        is_test=False,
        engine="instant",
        resolution="480p",
        upscale="1080p",
        seconds=2,
    )
    assert (held.upscale, held.price_micros, held.amount_micros) == ("1080p", 1200, 2400)

    quota.set_hold(held.render_id, 10)
    assert entry(held.render_id).amount_micros == 12_000
    quota.settle(held.render_id, seconds=9, gpu_seconds=0)

    assert entry(held.render_id).amount_micros == 10_800


@pytest.mark.django_db
def test_a_row_of_the_release_before_is_not_upscaled(acme) -> None:
    render_id = hold(acme)
    with connection.cursor() as cursor:
        names = [
            field.column for field in UsageEntry._meta.fields if field.column not in ("id", "render_id", "upscale")
        ]
        columns = ", ".join(names)
        cursor.execute(
            f"INSERT INTO accounts_usageentry ({columns}, render_id)"
            f" SELECT {columns}, gen_random_uuid() FROM accounts_usageentry WHERE render_id = %s",
            [render_id],
        )

    assert [row.upscale for row in UsageEntry.objects.all()] == ["none", "none"]


@pytest.mark.django_db
def test_the_spend_cap_counts_upscaling(acme, plan) -> None:
    plan.prices, plan.spend_cap_micros = {**plan.prices, "upscale": {"720p": 1}}, 1000
    plan.save()
    render = {"api_key": None, "is_test": False, "engine": "instant", "resolution": "480p"}

    with pytest.raises(ServiceError) as caught:
        quota.hold(acme, render_id=uuid.uuid4(), upscale="720p", **render)
    quota.hold(acme, render_id=uuid.uuid4(), upscale="none", **render)

    assert caught.value.code == "spend_cap_reached"


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
        quota.hold(acme, render_id=render_id, api_key=None, is_test=False, engine="instant", resolution="480p")


@pytest.mark.django_db
def test_a_hold_cannot_grow_past_the_months_seconds(acme) -> None:
    render_id = hold(acme)

    with pytest.raises(ServiceError) as caught:
        quota.set_hold(render_id, 3601)

    assert caught.value.code == "quota_exceeded"
    assert entry(render_id).reserved_seconds == 1


@pytest.mark.django_db
def test_what_is_held_is_kept_when_the_plan_allows_less_meanwhile(acme) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 5)
    Plan.objects.update(monthly_seconds=1)

    quota.set_hold(render_id, 5)
    quota.set_hold(render_id, 4)

    assert UsageEntry.objects.get(render_id=render_id).reserved_seconds == 4


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


def thresholds(tenant: Tenant) -> list[tuple[str, int]]:
    return list(tenant.usage_thresholds.order_by("pk").values_list("measure", "percent"))


@pytest.mark.django_db
def test_who_comes_near_the_limit_is_noted_once(acme, plan) -> None:
    plan.monthly_seconds, plan.spend_cap_micros = 100, 200_000
    plan.save()
    renders = [hold(acme) for _ in range(3)]
    assert thresholds(acme) == []

    quota.set_hold(renders[0], 78)
    assert thresholds(acme) == [("seconds", 80)]
    quota.set_hold(renders[1], 20)
    quota.set_hold(renders[1], 21)

    assert thresholds(acme) == [("seconds", 80), ("seconds", 100)]
    assert [row.used for row in acme.usage_thresholds.order_by("pk")] == [80, 100]


@pytest.mark.django_db
def test_spending_has_thresholds_of_its_own(acme, plan) -> None:
    plan.monthly_seconds, plan.spend_cap_micros = 10_000, 100_000
    plan.save()

    quota.set_hold(hold(acme), 85)

    assert thresholds(acme) == [("spend", 80)]


@pytest.mark.django_db
def test_a_credit_gives_back_with_a_reason_and_an_author(acme, admin_user) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 100)
    quota.settle(render_id, seconds=100, gpu_seconds=0)

    credit = quota.adjust(acme, seconds=-30, amount_micros=-30_000, reason=" A dark film ", author=admin_user)

    assert quota.seconds_available(acme) == 3600 - 70
    assert (credit.reason, credit.author, credit.currency) == ("A dark film", admin_user, "USD")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("seconds", "amount", "reason", "param"),
    [
        (-101, 0, "x", "seconds"),
        (0, -100_001, "x", "amount_micros"),
        (-1, 0, " ", "reason"),
        (0, 0, "x", "seconds"),
    ],
)
def test_no_more_is_given_back_than_was_used(acme, seconds, amount, reason, param) -> None:
    render_id = hold(acme)
    quota.set_hold(render_id, 100)
    quota.settle(render_id, seconds=100, gpu_seconds=0)

    with pytest.raises(ServiceError) as caught:
        quota.adjust(acme, seconds=seconds, amount_micros=amount, reason=reason, author=None)
    assert caught.value.param == param
    assert quota.seconds_available(acme) == 3500


@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_with_quota_for_one(acme, plan) -> None:
    plan.monthly_seconds = 5
    plan.save()

    def ask(_: int) -> str:
        try:
            with transaction.atomic():
                quota.hold(
                    acme,
                    render_id=uuid.uuid4(),
                    api_key=None,
                    is_test=False,
                    engine="instant",
                    resolution="480p",
                    seconds=5,
                )
        except ServiceError as error:
            return error.code
        finally:
            connection.close()
        return "accepted"

    with ThreadPoolExecutor(50) as pool:
        answers = sorted(pool.map(ask, range(50)))

    assert answers == ["accepted", *["quota_exceeded"] * 49]
    assert quota.seconds_available(acme) == 0


def test_an_enlargement_that_turns_out_to_change_nothing_costs_nothing(acme) -> None:
    entry = _enlarged(acme)
    assert entry.price_micros == 1300
    # Neither a price of today nor the cap that the enlargement would have reached changes what was agreed.
    Plan.objects.update(prices=full_prices(draft={"480p": 1900}), spend_cap_micros=10_000)

    quota.set_hold(entry.render_id, 10, is_enlarged=False)

    entry.refresh_from_db()
    assert (entry.upscale, entry.price_micros, entry.amount_micros) == ("none", 1000, 10_000)


@pytest.mark.parametrize(("is_test", "price"), [(False, 1000), (True, 0)])
@pytest.mark.parametrize("now", [None, 900, 2000])
def test_the_price_at_the_request_counts(acme, is_test, price, now) -> None:
    """now: the plan's price without upscaling, which the plan may also have lost."""
    entry = _enlarged(acme, is_test=is_test)
    Plan.objects.update(prices={"draft": {"480p": now} if now else {"720p": 1000}})

    quota.set_hold(entry.render_id, 10, is_enlarged=False)

    entry.refresh_from_db()
    assert (entry.upscale, entry.price_micros, entry.amount_micros) == ("none", price, 10 * price)


def _enlarged(acme, *, is_test: bool = False):
    """The hold of a render whose second costs 1000 and, for its upscaling, 300."""
    Plan.objects.update(prices={**full_prices(draft={"480p": 1000}), "upscale": {"720p": 300}})
    acme.plan.refresh_from_db()
    return quota.hold(
        acme, render_id=uuid.uuid4(), api_key=None, is_test=is_test, engine="draft", resolution="480p", upscale="720p"
    )
