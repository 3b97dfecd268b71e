import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core import signing

from accounts.api_keys import keys
from accounts.models import ApiKey, Scope
from render.engines import registry
from render.models import Render, State
from tests.projects.steps import PROJECTS, claim, create, finish, make_projects

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def titles(response):
    assert response.status_code == 200, response.content
    return [project["title"] for project in response.json()]


def walk(caller, **query):
    """Every page, by the links alone."""
    seen, url = [], f"{PROJECTS}?" + "&".join(f"{name}={value}" for name, value in query.items())
    while url:
        response = caller.get(url)
        seen += [project["id"] for project in response.json()]
        found = re.search(r'<([^>]+)>; rel="next"', response["Link"])
        assert bool(found) == (response["X-Has-More"] == "true") == ("X-Next-Cursor" in response)
        url = found and found[1]
    return seen


@pytest.mark.parametrize("path", [PROJECTS, f"{PROJECTS}/"])
def test_it_is_a_bare_list_with_the_newest_first(alice, bob, path):
    create(alice, title="old")
    create(bob, title="new")

    assert titles(alice.get(path)) == ["new", "old"]


def test_it_hides_other_tenants_and_deleted_projects(alice, charlie):
    create(alice)
    alice.delete(f"{PROJECTS}/{create(alice)['id']}")

    assert charlie.get(PROJECTS).json() == []
    assert len(alice.get(PROJECTS).json()) == 1


@pytest.mark.parametrize("order", ["created_at", "-created_at"])
@pytest.mark.parametrize("limit", [1, 4, 5, 9, 100])
def test_its_pages_skip_and_repeat_nothing_when_all_are_of_one_moment(alice, order, limit):
    made = make_projects(alice, 9, created_at=NOON)

    seen = walk(alice, limit=limit, order=order)

    assert seen == sorted((str(project.pk) for project in made), reverse=order.startswith("-"))


def test_its_pages_stay_in_place_while_projects_come_in(alice):
    for hours in range(5):
        make_projects(alice, 1, created_at=NOON + timedelta(hours=hours))
    first = alice.get(PROJECTS, {"limit": 2})

    make_projects(alice, 3, created_at=NOON + timedelta(days=1))
    second = alice.get(PROJECTS, {"limit": 2, "cursor": first["X-Next-Cursor"]})

    moments = [project["created_at"][11:13] for project in first.json() + second.json()]
    assert moments == ["16", "15", "14", "13"]


@pytest.mark.parametrize(
    ("limit", "number"),
    [(None, 20), ("", 20), ("0", 1), ("-5", 1), ("1", 1), ("1000", 25), ("99999999999999999999", 25)],
)
def test_it_clamps_the_limit(alice, limit, number):
    make_projects(alice, 25)

    response = alice.get(PROJECTS, {} if limit is None else {"limit": limit})

    assert len(response.json()) == number


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        (PROJECTS, "limit", "many"),
        (PROJECTS, "state", "nope"),
        (PROJECTS, "envelope", "maybe"),
        ("/api/v1/assets", "limit", "many"),
        ("/api/v1/avatars", "limit", "0"),
        ("/api/v1/keys", "limit", "-1"),
        ("/api/v1/usage/entries", "limit", "1.5"),
        ("/api/v1/usage/entries", "as", "pdf"),
        ("/api/v1/usage/statements/2026-05", "as", "pdf"),
        ("/api/v1/webhook-deliveries", "delivered", "maybe"),
        ("/api/v1/webhook-endpoints", "limit", "many"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(alice, path, name, value):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))

    refused = alice.get(path, {name: value})

    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (422, "invalid", name)
    assert alice.get(path, {name: ""}).status_code == 200


def test_a_page_of_more_than_the_most_is_one_of_the_most(alice):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))
    for number in range(101):
        keys.issue(alice.tenant, name=str(number))

    page = alice.get("/api/v1/keys", {"limit": 1000}).json()

    assert (len(page["data"]), page["has_more"]) == (100, True)


def test_it_filters_by_the_words_of_the_older_service(alice):
    create(alice, title="one", user_id="u1")
    create(alice, title="two", user_id="u2", audio_url_2="https://example.com/b.mp3")

    assert titles(alice.get(PROJECTS, {"user_id": "u1"})) == ["one"]
    assert titles(alice.get(PROJECTS, {"type": "multi_person"})) == ["two"]
    assert titles(alice.get(PROJECTS, {"type": "single_person"})) == ["one"]
    assert titles(alice.get(PROJECTS, {"user_id": "", "type": ""})) == ["two", "one"]


def test_it_filters_by_the_state_of_the_latest_take(alice):
    create(alice, title="finished")
    finish(claim())
    create(alice, title="running")
    claim()
    canceled = create(alice, title="canceled")
    alice.post(canceled["urls"]["cancel"])
    create(alice, title="queued")
    final = create(alice, title="final")
    Render.objects.exclude(take__project=final["id"]).filter(state=State.QUEUED).update(
        created_at=datetime.now(UTC) + timedelta(hours=1)
    )
    finish(claim())
    alice.post(final["urls"]["finalize"])

    assert titles(alice.get(PROJECTS, {"status": "finished"})) == ["finished"]
    assert titles(alice.get(PROJECTS, {"status": "processing"})) == ["running"]
    assert titles(alice.get(PROJECTS, {"status": "failed"})) == ["canceled"]
    assert titles(alice.get(PROJECTS, {"status": "queued"})) == ["final", "queued"]
    assert titles(alice.get(PROJECTS, {"state": "canceled"})) == ["canceled"]
    assert titles(alice.get(PROJECTS, {"state": "failed"})) == []
    assert titles(alice.get(PROJECTS, {"state": "queued", "status": "failed"})) == []


def test_it_searches_titles_and_descriptions(alice):
    create(alice, title="100% Welcome")
    create(alice, title="other", description="all are welcome")
    create(alice, title="1000 things")

    assert titles(alice.get(PROJECTS, {"q": "WELCOME"})) == ["other", "100% Welcome"]
    assert titles(alice.get(PROJECTS, {"q": "100%"})) == ["100% Welcome"]


def test_it_filters_by_time(alice):
    for hours in range(3):
        make_projects(alice, 1, created_at=NOON + timedelta(hours=hours), user_id=str(hours))

    def users(**query):
        return [project["user_id"] for project in alice.get(PROJECTS, query).json()]

    assert users(created_after="2026-03-01T12:00:00Z") == ["2", "1"]
    assert users(created_before="2026-03-01T15:00:00+01:00") == ["1", "0"]
    assert users(created_after="2026-03-02") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "three_person"),
        ("status", "canceled"),
        ("state", "done"),
        ("order", "title"),
        ("created_after", "yesterday"),
        ("created_before", "2026-13-01"),
        ("count", "perhaps"),
        ("envelope", "perhaps"),
        ("user_id", "\0"),
        ("q", "\0"),
        ("cursor", "\0"),
    ],
)
def test_it_names_the_filter_that_is_wrong(alice, name, value):
    response = alice.get(PROJECTS, {name: value})

    assert (response.status_code, response.json()["code"], response.json()["param"]) == (422, "invalid", name)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9999-12-31"]
)
def test_it_survives_moments_at_the_ends_of_time(alice, moment):
    assert alice.get(PROJECTS, {"created_after": moment}).status_code in (200, 422)


def test_it_counts_on_request(alice):
    make_projects(alice, 3)

    assert "X-Total-Count" not in alice.get(PROJECTS)
    assert alice.get(PROJECTS, {"count": "true", "limit": 1})["X-Total-Count"] == "3"


def test_it_has_an_envelope_on_request(alice):
    make_projects(alice, 3)

    first = alice.get(PROJECTS, {"envelope": "true", "limit": 2})
    last = alice.get(PROJECTS, {"envelope": "true", "limit": 2, "cursor": first.json()["next_cursor"]})

    assert (len(first.json()["data"]), first.json()["has_more"]) == (2, True)
    assert (len(last.json()["data"]), last.json()["has_more"], last.json()["next_cursor"]) == (1, False, None)


@pytest.mark.parametrize("cursor", ["x", "a:b:c", "é", signing.dumps(["2026-01-01", "x", "y"])], ids=range(4))
def test_it_refuses_a_cursor_that_is_not_ours(alice, cursor):
    response = alice.get(PROJECTS, {"cursor": cursor})

    assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


def test_it_refuses_a_cursor_that_was_changed(alice):
    make_projects(alice, 2)
    cursor = alice.get(PROJECTS, {"limit": 1})["X-Next-Cursor"]

    response = alice.get(PROJECTS, {"cursor": cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")})

    assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


def test_it_refuses_a_cursor_of_another_list(alice, charlie):
    make_projects(alice, 2)
    cursor = alice.get(PROJECTS, {"limit": 1})["X-Next-Cursor"]

    other_filter = alice.get(PROJECTS, {"cursor": cursor, "user_id": "u1"})
    other_order = alice.get(PROJECTS, {"cursor": cursor, "order": "created_at"})
    other_tenant = charlie.get(PROJECTS, {"cursor": cursor})

    for response in (other_filter, other_order, other_tenant):
        assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


def test_it_asks_the_database_the_same_number_of_times_however_many_there_are(alice, django_assert_max_num_queries):
    make_projects(alice, 40)
    claim()
    alice.get(PROJECTS)

    # Key, its last use, projects, takes, running, tickets, ranks, and one for each engine's pace.
    with django_assert_max_num_queries(8 + len(registry.names())):
        response = alice.get(PROJECTS, {"limit": 40})

    assert len(response.json()) == 40


def test_it_needs_a_key(anonymous, db):
    assert anonymous.get(PROJECTS).status_code == 401
    assert anonymous.get(PROJECTS, headers={"X-API-Key": "cf_live_nonsense"}).status_code == 401


def test_it_needs_the_scope(alice):
    alice.key.scopes = ["projects:write"]
    alice.key.save(update_fields=["scopes"])

    assert alice.get(PROJECTS).status_code == 403


def test_its_links_keep_the_filters_and_the_public_address(alice, settings):
    settings.PUBLIC_URL = "https://avatars.example"
    make_projects(alice, 2, user_id="a b&c")

    response = alice.get(f"{PROJECTS}/", {"limit": 1, "user_id": "a b&c"})

    assert '<https://avatars.example/api/v1/projects/?limit=1&user_id=a+b%26c>; rel="first"' in response["Link"]
