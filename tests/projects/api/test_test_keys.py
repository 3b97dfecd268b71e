"""Test keys: the whole API, for nothing, and every failure on request."""

import pytest

from accounts.api_keys import keys
from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, UsageEntry
from projects import services
from projects.models import Project
from render.lifecycle import transitions
from render.models import Render, State
from render.pipeline import runner, test_scenarios
from tests.conftest import Caller
from tests.projects.steps import NEW, PROJECTS, claim, create, finish, latest_render
from tests.render.conftest import site  # noqa: F401


@pytest.fixture
def tester(acme) -> Caller:
    caller = Caller(acme, "test")
    _, plain = keys.issue(acme, name="test", mode=ApiKey.Mode.TEST)
    caller.credentials(HTTP_X_API_KEY=plain)
    return caller


def test_it_costs_nothing_and_counts_for_nothing(tester, acme, plan):
    plan.monthly_seconds, plan.prices = 0, {"draft": {"480p": 10**6}}
    plan.save()
    project = create(tester, parameters={"frame_num": 1001})
    assert project["test"] is True

    finish(claim(), seconds=2)

    entry = UsageEntry.objects.get()
    assert (entry.is_test, entry.billed_seconds, entry.amount_micros) == (True, 2, 0)
    assert quota.seconds_available(acme) == 0


def test_a_dry_run_does_not_tell_it_what_live_renders_have_used(tester, alice, plan):
    plan.monthly_seconds = 1000
    plan.save()
    create(alice, parameters={"frame_num": 1001})
    asked = {**NEW, "parameters": {"frame_num": 1001}}

    told = tester.post(f"{PROJECTS}?dry_run=true", asked, format="json").json()["seconds_available"]
    live = alice.post(f"{PROJECTS}?dry_run=true", asked, format="json").json()["seconds_available"]

    assert told == 1000
    assert live < 1000


def test_another_try_costs_nothing_either_whoever_asks_for_it(tester, acme, plan):
    plan.monthly_seconds, plan.prices = 0, {"draft": {"480p": 10**6}}
    plan.save()
    project = create(tester)
    transitions.fail(claim(), ServiceError("internal", "The render failed."), trace="")

    services.retry(Project.objects.get(pk=project["id"]), None)  # as support staff do
    finish(claim())

    assert latest_render(project["id"]).state == State.FINISHED
    assert {(entry.is_test, entry.amount_micros) for entry in UsageEntry.objects.all()} == {(True, 0)}
    assert quota.seconds_available(acme) == 0


def warnings_of(project):
    return [(warning["param"], warning["code"]) for warning in project["warnings"]]


def test_it_renders_drafts_whatever_is_asked_for(tester):
    project = create(tester, parameters={"engine": "stateful"})

    assert project["engine"] == "draft"
    assert project["parameters"]["engine"] == "stateful"
    assert ("parameters.engine", "test_key_renders_drafts") in warnings_of(project)
    finish(claim())
    final = tester.post(project["urls"]["finalize"]).json()
    assert [(take["kind"], take["engine"]) for take in final["takes"]] == [("draft", "draft"), ("final", "draft")]


def test_an_engine_that_is_not_installed_may_be_asked_for(tester, alice, settings):
    assert "infinitetalk" in settings.KNOWN_ENGINES and "infinitetalk" not in settings.RENDER_ENGINES
    asked = {"parameters": {"engine": "infinitetalk"}}

    project = create(tester, **asked)

    assert (project["engine"], project["parameters"]["engine"]) == ("draft", "infinitetalk")
    assert ("parameters.engine", "test_key_renders_drafts") in warnings_of(project)
    assert alice.post(PROJECTS, {**NEW, **asked}, format="json").json()["code"] == "engine_unavailable"


def test_an_engine_that_is_not_there_is_no_engine_for_a_test_key_either(tester):
    refused = tester.post(PROJECTS, {**NEW, "parameters": {"engine": "unknown"}}, format="json")

    assert refused.json()["code"] == "engine_unavailable"


def test_live_and_test_projects_do_not_see_each_other(alice, tester):
    live, test = create(alice), create(tester)

    for caller, own, other in ((alice, live, test), (tester, test, live)):
        assert [project["id"] for project in caller.get(PROJECTS).json()] == [own["id"]]
        assert caller.get(f"{PROJECTS}/{other['id']}").status_code == 404


@pytest.mark.parametrize("scenario", test_scenarios.NAMES)
def test_a_scenario_ends_the_render_as_it_says(tester, site, settings, scenario):  # noqa: F811
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    settings.TEST_ENGINE = "instant"
    base_url, _ = site
    media = {"image_url": f"{base_url}/picture.png", "audio_url": f"{base_url}/voice.wav"}
    project = create(tester, test_scenario=scenario, **media)

    runner.run(claim())

    shown = tester.get(project["urls"]["status"]).json()
    expected = {**test_scenarios.BEFORE_RENDERING, **test_scenarios.AFTER_FIRST_SEGMENT}[scenario]
    assert (shown["status"], shown["error_code"]) == ("failed", expected)
    assert latest_render(project["id"]).segments.exists() is (scenario in test_scenarios.AFTER_FIRST_SEGMENT)
    assert UsageEntry.objects.get().billed_seconds == 0


@pytest.mark.parametrize(("who", "scenario"), [("alice", "timeout"), ("tester", "unknown")])
def test_a_scenario_is_for_test_keys_and_must_exist(who, scenario, request):
    caller = request.getfixturevalue(who)

    refused = caller.post(PROJECTS, {**NEW, "test_scenario": scenario}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "test_scenario")
    assert not Render.objects.exists()
