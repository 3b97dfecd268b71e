"""A project has so many takes and no more, and what is told of it does not grow with them."""

import json

import pytest
from django.utils import timezone

from accounts.models import UsageEntry
from projects.models import MAX_TAKES, Project, Take
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.presentation.projects import SHOWN_TAKES
from projects.webhooks import outbox
from render.lifecycle import transitions
from render.models import Render, State
from tests.projects.steps import PROJECTS, create, latest_render

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]


def add_takes(project: dict, state: str, number: int) -> None:
    """Many at once, past the API; the ones that there are have ended before."""
    row = Project.objects.get(pk=project["id"])
    transitions.request_cancel(latest_render(project["id"]))
    asked = {
        "tenant": row.tenant,
        "engine": "draft",
        "queue": "cpu",
        "parameters": {"seed": 1},
        "completed_at": timezone.now(),
    }
    renders = Render.objects.bulk_create(Render(**asked, image_url="-", state=state) for _ in range(number))
    Take.objects.bulk_create(
        Take(project=row, number=2 + index, kind=Take.Kind.DRAFT, render=render) for index, render in enumerate(renders)
    )


def numbers(shown: dict) -> list[int]:
    return [take["number"] for take in shown["takes"]]


@pytest.mark.parametrize(("state", "wish"), [(State.CANCELED, "retry"), (State.FINISHED, "finalize")])
def test_the_last_take_that_a_project_may_have(alice, charlie, state, wish) -> None:
    project, other = create(alice), create(charlie)
    add_takes(other, state, MAX_TAKES - 2)
    add_takes(project, state, MAX_TAKES - 1)

    assert charlie.post(other["urls"][wish]).status_code == 202
    refused = alice.post(project["urls"][wish])

    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_takes")
    assert str(MAX_TAKES) in refused.json()["detail"]
    assert Take.objects.filter(project=project["id"]).count() == MAX_TAKES
    assert UsageEntry.objects.filter(tenant=alice.tenant).count() == 1


@pytest.fixture
def project(alice, charlie) -> dict:
    """With five takes more than are shown."""
    made = create(alice)
    add_takes(made, State.CANCELED, SHOWN_TAKES + 3)
    assert alice.post(made["urls"]["retry"]).status_code == 202
    add_takes(create(charlie), State.CANCELED, 2)
    return made


def test_the_newest_are_shown_and_all_are_counted(alice, charlie, project) -> None:
    create(alice)
    one, listed = alice.get(project["urls"]["self"]).json(), alice.get(PROJECTS).json()

    assert numbers(one) == list(range(6, SHOWN_TAKES + 6))
    assert (one["takes_total"], one["state"]) == (SHOWN_TAKES + 5, "queued")
    assert one["takes"][-1]["state"] == "queued" and one["takes"][0]["state"] == "canceled"
    assert [(numbers(each), each["takes_total"]) for each in listed] == [([1], 1), (numbers(one), SHOWN_TAKES + 5)]
    assert [(numbers(each), each["takes_total"]) for each in charlie.get(PROJECTS).json()] == [([1, 2, 3], 3)]


def test_a_message_shows_the_newest_at_its_event(alice, project) -> None:
    WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://example.com", events=["project.canceled"])
    told_of = Take.objects.get(project=project["id"], number=SHOWN_TAKES + 3)
    WebhookEvent.objects.create(type="project.canceled", project_id=project["id"], render_id=told_of.render_id)
    outbox.fan_out()

    data = json.loads(WebhookDelivery.objects.get(endpoint__tenant=alice.tenant).body)["data"]
    assert numbers(data) == list(range(4, SHOWN_TAKES + 4))
    assert (data["takes_total"], data["state"]) == (SHOWN_TAKES + 3, "canceled")


def test_a_poll_reads_the_latest_take_only(alice, project, monkeypatch) -> None:
    read, from_db = [], Take.from_db

    def counting(*args):
        read.append(from_db(*args))
        return read[-1]

    monkeypatch.setattr(Take, "from_db", counting)
    assert alice.get(project["urls"]["status"]).json()["state"] == "queued"
    assert [take.number for take in read] == [SHOWN_TAKES + 5]
