import pytest
from django.db import transaction

from accounts.models import Plan
from render.lifecycle import submission
from render.models import Render
from render.parameters import Parameters
from tests.prices import full_prices


@pytest.mark.parametrize(
    ("chosen", "upscale", "price"),
    [({"upscale": "1080p"}, "1080p", 1300), ({"upscale": "none"}, "none", 1000), (None, "none", 1000)],
    ids=["upscaled", "not upscaled", "a render from before there was upscaling"],
)
def test_the_hold_has_the_price_of_the_upscaling(acme, chosen, upscale, price) -> None:
    Plan.objects.update(prices={**full_prices(instant={"480p": 1000}), "upscale": {"1080p": 300}})
    parameters = {name: value for name, value in Parameters(seed=1).as_json().items() if name != "upscale"}
    render = Render(tenant=acme, engine="instant", parameters={**parameters, **(chosen or {})})

    with transaction.atomic():
        hold = submission.submit(render, api_key=None, is_test=False, voice_seconds=4)

    assert (hold.upscale, hold.price_micros, hold.amount_micros) == (upscale, price, 4 * price)
