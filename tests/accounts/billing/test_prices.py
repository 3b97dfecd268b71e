import io
import uuid

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from accounts import prices
from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import Plan, Tenant, UsageEntry
from tests.prices import full_prices

pytestmark = pytest.mark.django_db
BOTH = {"480p": 1, "720p": 2}


def refusal(**fields) -> str:
    with pytest.raises(ValidationError) as caught:
        Plan(name="New", **fields).full_clean()
    return str(caught.value)


def test_a_plan_without_prices_and_cap_is_free() -> None:
    plan = Plan(name="Free")
    plan.full_clean()

    assert prices.per_second(plan, engine="draft", resolution="720p") == 0


def test_a_plan_that_prices_everything_is_accepted_with_and_without_a_cap() -> None:
    Plan(name="New", prices=full_prices(draft=BOTH)).full_clean()
    Plan(name="New", prices=full_prices(), spend_cap_micros=0).full_clean()
    # An engine is priced before it is installed.
    Plan(name="New", prices={**full_prices(), "infinitetalk": BOTH}).full_clean()


@pytest.mark.parametrize("lacking", ["draft", "instant", "chunked"])
@pytest.mark.parametrize("size", ["480p", "720p"])
def test_what_has_no_price_is_named(lacking, size) -> None:
    prices_of_plan = full_prices(draft=BOTH)
    del prices_of_plan[lacking][size]

    assert f"Missing: {lacking} {size}." in refusal(prices=prices_of_plan)


def test_a_cap_alone_prices_nothing(settings) -> None:
    settings.RENDER_ENGINES = {"draft": {}, "infinitetalk": {}}

    missing = "Missing: draft 480p, draft 720p, infinitetalk 480p, infinitetalk 720p."
    assert missing in refusal(spend_cap_micros=10**6)
    assert missing in refusal(spend_cap_micros=0)


def test_a_cap_is_not_below_zero() -> None:
    assert "cannot be below 0" in refusal(prices=full_prices(), spend_cap_micros=-1)


@pytest.mark.parametrize("price", [True, False, -1, 0.5, 1.0, "100", None, [], {}, 10**12 + 1, 10**400])
def test_a_price_is_a_whole_number(price) -> None:
    assert "draft 480p: a price is a whole number" in refusal(prices=full_prices(draft={"480p": price}))


@pytest.mark.parametrize("size", ["480", "480P", "1080p", "", " 480p"])
def test_an_unknown_size_is_named(size) -> None:
    assert f"draft: there is no size {size!r}; there are: 480p, 720p." in refusal(prices=full_prices(draft={size: 1}))


@pytest.mark.parametrize("engine", ["drafts", "Draft", "", "infinite-talk", "upscaling"])
def test_an_unknown_engine_is_named(engine) -> None:
    assert f"There is no engine {engine!r}" in refusal(prices={**full_prices(), engine: BOTH})


@pytest.mark.parametrize("prices_of_plan", [[], [1], "draft", 5, True])
def test_prices_are_an_object_of_objects(prices_of_plan) -> None:
    assert "Must look like" in refusal(prices=prices_of_plan)
    assert "draft: Must look like" in refusal(prices={**full_prices(), "draft": prices_of_plan})


@pytest.mark.parametrize("upscaling", [{}, {"720p": 10}, {"720p": 10, "1080p": 0}])
def test_prices_of_upscaling_are_optional(upscaling) -> None:
    plan = Plan(name="New", prices={**full_prices(draft=BOTH), "upscale": upscaling}, spend_cap_micros=10**9)

    plan.full_clean()

    assert prices.missing(plan) == []


def test_prices_of_upscaling_alone_price_no_engine() -> None:
    assert "Missing: " in refusal(prices={"upscale": {"720p": 1, "1080p": 1}})


@pytest.mark.parametrize(
    ("upscaling", "told"),
    [
        ({"480p": 1}, "upscale: there is no size '480p'; there are: 720p, 1080p."),
        ({"none": 0}, "upscale: there is no size 'none'; there are: 720p, 1080p."),
        ({"1080p": 0.5}, "upscale 1080p: a price is a whole number"),
        ({"1080p": None}, "upscale 1080p: a price is a whole number"),
        (1000, "upscale: Must look like"),
    ],
)
def test_prices_of_upscaling_have_their_shape(upscaling, told) -> None:
    assert told in refusal(prices={**full_prices(), "upscale": upscaling})


def test_upscaling_is_added_to_the_price_of_the_engine() -> None:
    plan = Plan(name="New", prices={**full_prices(draft={"480p": 100, "720p": 200}), "upscale": {"1080p": 30}})

    def price(**of) -> int:
        return prices.per_second(plan, engine="draft", **of)

    assert price(resolution="480p", upscale="1080p") == 130
    assert price(resolution="720p", upscale="1080p") == 230
    assert price(resolution="720p", upscale="none") == price(resolution="720p") == 200
    assert prices.per_second(Plan(name="Free"), engine="draft", resolution="480p", upscale="1080p") == 0


@pytest.mark.parametrize(
    "upscaling",
    [{}, {"upscale": {}}, {"upscale": {"720p": 1}}, {"upscale": {"1080p": "1"}}, {"upscale": 1}, {"upscale": None}],
)
def test_an_upscaling_without_a_price_is_not_sold_and_the_rest_is(acme, upscaling) -> None:
    Plan.objects.update(prices={**full_prices(draft={"480p": 7}), **upscaling})
    hold = {"api_key": None, "engine": "draft", "resolution": "480p"}

    with pytest.raises(ServiceError) as caught:
        quota.hold(acme, render_id=uuid.uuid4(), is_test=False, upscale="1080p", **hold)

    assert (caught.value.code, caught.value.param) == ("price_missing", "parameters.upscale")
    assert "upscaling to 1080p" in caught.value.detail
    assert not UsageEntry.objects.exists()
    assert quota.hold(acme, render_id=uuid.uuid4(), is_test=False, **hold).price_micros == 7
    assert quota.hold(acme, render_id=uuid.uuid4(), is_test=True, upscale="1080p", **hold).price_micros == 0


def test_a_missing_price_of_the_engine_is_told_first(acme) -> None:
    Plan.objects.update(prices={"draft": {"480p": 7}})

    with pytest.raises(ServiceError) as caught:
        quota.hold(
            acme, render_id=uuid.uuid4(), api_key=None, is_test=False, engine="draft", resolution="720p", upscale="720p"
        )

    assert caught.value.param == "parameters.resolution"


# Plans that were saved before, or before an engine was installed.
@pytest.mark.parametrize(
    ("prices_of_plan", "cap", "param"),
    [
        ({"draft": {"480p": 1}}, None, "parameters.resolution"),
        ({"draft": {"480p": 1, "720p": True}}, None, "parameters.resolution"),
        ({"draft": {"480p": 1, "720p": -1}}, None, "parameters.resolution"),
        ({"draft": {"480p": 1, "720p": "5"}}, None, "parameters.resolution"),
        ({"draft": {"480p": 1, "720p": 0.5}}, None, "parameters.resolution"),
        ({"draft": 5}, None, "parameters.resolution"),
        ({"draft": {}}, None, "parameters.engine"),
        ({"infinitetalk": {"480p": 1}}, None, "parameters.engine"),
        ([1], None, "parameters.engine"),
        ({}, 10**9, "parameters.engine"),
        ({}, 0, "parameters.engine"),
    ],
)
def test_a_hold_without_a_price_is_refused(acme, charlie, prices_of_plan, cap, param) -> None:
    Plan.objects.update(prices=prices_of_plan, spend_cap_micros=cap)
    hold = {"api_key": None, "engine": "draft", "resolution": "720p", "seconds": 5}

    with pytest.raises(ServiceError) as caught:
        quota.hold(acme, render_id=uuid.uuid4(), is_test=False, **hold)

    assert (caught.value.code, caught.value.param) == ("price_missing", param)
    assert "draft in 720p" in caught.value.detail
    assert not UsageEntry.objects.exists()
    # A test render is free by any plan.
    quota.hold(acme, render_id=uuid.uuid4(), is_test=True, **hold)
    assert UsageEntry.objects.get().amount_micros == 0


def test_a_price_of_zero_is_a_price(acme) -> None:
    Plan.objects.update(prices={"draft": {"480p": 0}}, spend_cap_micros=0)

    entry = quota.hold(
        acme, render_id=uuid.uuid4(), api_key=None, is_test=False, engine="draft", resolution="480p", seconds=7
    )

    assert (entry.price_micros, entry.amount_micros) == (0, 0)


def test_a_command_that_makes_a_tenant_tells_of_a_plan_that_lacks_prices(settings) -> None:
    settings.RENDER_ENGINES = {"draft": {}}
    Plan.objects.create(name="Lacking", prices={"draft": {"480p": 1}})
    errors = io.StringIO()
    call_command("create_tenant", "Globex", "--plan", "Lacking", stderr=errors)
    assert "The plan Lacking has no price for draft 720p" in errors.getvalue()

    silent = io.StringIO()
    call_command("create_tenant", "Initech", stderr=silent)

    assert silent.getvalue() == ""
    assert Tenant.objects.count() == 2
