"""A plan that prices something, or has a cap, and says nothing of an engine that was installed since."""

import pytest

from accounts.errors import ServiceError
from accounts.models import Plan, UsageEntry
from projects.models import Project, Take
from render.lifecycle import transitions
from render.models import Render
from tests.prices import full_prices
from tests.projects.steps import NEW, PROJECTS, claim, create, finished_project

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _stranger(charlie):
    create(charlie)


def lack(*, engine: str, size: str) -> None:
    prices = full_prices(draft={"480p": 5})
    del prices[engine][size]
    Plan.objects.update(prices=prices)


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
@pytest.mark.parametrize("parameters", [{"resolution": "720p"}, {"engine": "draft", "resolution": "720p"}])
def test_a_request_is_refused_and_leaves_nothing(alice, query, parameters) -> None:
    lack(engine="draft", size="720p")
    body = {**NEW, "parameters": parameters}

    answer = alice.post(PROJECTS + query, body, format="json")

    told = answer.json()
    assert (answer.status_code, told["code"], told["param"]) == (422, "price_missing", "parameters.resolution")
    assert not Project.objects.filter(tenant=alice.tenant).exists()
    assert not UsageEntry.objects.filter(tenant=alice.tenant).exists()
    assert create(alice)["status"] == "queued"  # 480p has its price.


def test_a_cap_alone_lets_nothing_pass_for_free(alice) -> None:
    Plan.objects.update(prices={}, spend_cap_micros=10**9)

    answer = alice.post(PROJECTS, NEW, format="json").json()

    assert (answer["code"], answer["param"]) == ("price_missing", "parameters.engine")


def test_a_final_needs_the_price_of_the_final_engine(alice) -> None:
    project = finished_project_of(alice)
    lack(engine="stateful", size="480p")

    answer = alice.post(project["urls"]["finalize"])

    assert (answer.status_code, answer.json()["code"]) == (422, "price_missing")
    assert Take.objects.filter(project=project["id"]).count() == 1


def test_another_try_needs_the_price_of_now_whoever_asks(alice, admin_client) -> None:
    project = create(alice)
    fail_all()
    lack(engine="draft", size="480p")

    answer = alice.post(project["urls"]["retry"])
    assert (answer.status_code, answer.json()["code"]) == (422, "price_missing")
    page = admin_client.post(
        f"/admin/projects/project/{project['id']}/retry/do/", {"reason": "Asked for it"}, follow=True
    )

    assert b"no price for the engine draft in 480p" in page.content
    assert Take.objects.filter(project=project["id"]).count() == 1


def finished_project_of(caller):
    fail_all()  # The stranger's waits longer.
    return finished_project(caller)


def fail_all() -> None:
    for _ in Render.objects.filter(state="queued"):
        transitions.fail(claim(), ServiceError("no_face", "There is no face."))
