"""The project's page in the admin: what happened, and what staff do about it."""

import pytest
from django.test import Client

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import AuditEntry, UsageEntry
from projects import services
from projects.models import Project, Take
from render.lifecycle import retries, transitions
from render.models import State
from tests.prices import full_prices
from tests.projects.steps import claim, create, finish, finished_project, latest_render


def page(project) -> str:
    return f"/admin/projects/project/{project['id']}/change/"


def do(client: Client, project, action: str, **fields):
    url = f"/admin/projects/project/{project['id']}/{action}/do/"
    return client.post(url, {"reason": "The customer asked.", **fields}, follow=True)


@pytest.fixture
def failed(alice):
    project = create(alice)
    transitions.fail(claim(), ServiceError("gpu_out_of_memory", "The GPU has too little memory."), trace="line 7")
    return project


def test_the_time_line_tells_the_whole_story_in_order(admin_client, alice):
    project = create(alice, parameters={"engine": "draft"})
    retries.retry_later(claim(), ServiceError("upload_failed", "No room."), trace="")
    alice.post(project["urls"]["cancel"])
    alice.post(project["urls"]["retry"])
    finish(claim())
    do(admin_client, project, "credit", seconds=1, amount=0)

    html = admin_client.get(page(project)).content.decode()

    story = html[html.index("Timeline") :]
    steps = [
        "Created", "Take 1: hold", "Take 1 (draft): queued", "Take 1: attempt 1 began", "Take 1: attempt 1 ended",
        "Take 1 (draft): canceled", "Take 2 (draft): queued", "Take 2: attempt 1 began", "Take 2: segment 1",
        "Take 2: charge", "Take 2 (draft): finished", "project.credit by admin",
    ]  # fmt: skip
    assert all(step in story for step in steps), story
    places = [story.index(step) for step in ("Created", "attempt 1 began", "canceled", "segment 1", "project.credit")]
    assert places == sorted(places)


def test_a_page_with_much_history_takes_few_queries(admin_client, alice, django_assert_max_num_queries):
    project = create(alice)
    row = Project.objects.get(pk=project["id"])
    for _ in range(6):
        services.cancel(row)
        services.retry(row, alice.key)
    finish(claim())

    with django_assert_max_num_queries(30):
        assert admin_client.get(page(project)).status_code == 200


def test_a_failed_project_is_tried_again_with_a_reason(admin_client, admin_user, failed, alice):
    answer = do(admin_client, failed, "retry")

    takes = Take.objects.filter(project=failed["id"]).order_by("number")
    assert [take.render.state for take in takes] == [State.FAILED, State.QUEUED]
    assert takes[1].render.parameters == takes[0].render.parameters
    entry = AuditEntry.objects.get(action="project.retry")
    assert (entry.actor, entry.reason, entry.tenant) == (admin_user, "The customer asked.", alice.tenant)
    assert "Take 2 is queued." in answer.content.decode()
    assert alice.get(failed["urls"]["self"]).json()["status"] == "queued"


def test_a_running_project_is_canceled(admin_client, alice):
    project = create(alice)

    assert "It is canceled." in do(admin_client, project, "cancel").content.decode()
    assert latest_render(project["id"]).state == State.CANCELED


def test_a_credit_gives_back_seconds_and_money(admin_client, alice, plan):
    plan.prices = full_prices(draft={"480p": 10_000})
    plan.save()
    project = finished_project(alice)

    do(admin_client, project, "credit", seconds=2, amount="0.02")

    assert quota.seconds_available(alice.tenant) == 3600
    credit = UsageEntry.objects.get(render_id=None)
    assert (credit.billed_seconds, credit.amount_micros) == (-2, -20_000)
    assert project["id"] in credit.reason


def test_what_is_not_possible_is_told_and_leaves_no_trace(admin_client, alice):
    project = finished_project(alice)

    assert "can be tried again; the latest is finished." in do(admin_client, project, "retry").content.decode()
    assert "Only 2 s were used" in do(admin_client, project, "credit", seconds=99, amount=0).content.decode()
    assert not AuditEntry.objects.exists()
    assert UsageEntry.objects.count() == Take.objects.count() == 1


@pytest.mark.parametrize("fields", [{"reason": " "}, {"seconds": -1}, {"seconds": 0, "amount": 0}])
def test_without_a_reason_or_an_amount_nothing_is_done(admin_client, alice, fields):
    project = finished_project(alice)

    answer = do(admin_client, project, "credit", **{"seconds": 1, "amount": 0, **fields})

    assert b"errorlist" in answer.content
    assert not AuditEntry.objects.exists()


def test_only_what_is_possible_is_offered(admin_client, failed, alice):
    def offered(project) -> set[str]:
        html = admin_client.get(page(project)).content.decode()
        return {action for action in ("cancel", "retry", "credit") if f"/{action}/do/" in html}

    assert offered(failed) == {"retry", "credit"}
    assert offered(create(alice)) == {"cancel", "credit"}
    assert offered(finished_project(alice)) <= {"credit", "cancel"}


def test_a_failed_project_is_found_by_its_key_and_tells_staff_the_raw_error(admin_client, failed, alice):
    found = admin_client.get("/admin/projects/project/", {"q": alice.key.prefix}).content.decode()
    assert page(failed) in found

    render = latest_render(failed["id"])
    assert b"line 7" in admin_client.get(f"/admin/render/render/{render.pk}/change/").content
    assert "line 7" not in str(alice.get(failed["urls"]["self"]).json())


def test_staff_see_what_the_tenant_sees(admin_client, failed, alice):
    html = admin_client.get(page(failed)).content.decode()

    assert "gpu_out_of_memory" in html
    assert f"/api/v1/projects/{failed['id']}/status" in html


def test_the_api_renders_again_what_failed_and_nothing_else(alice, failed):
    answer = alice.post(failed["urls"]["retry"])

    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    again = alice.post(failed["urls"]["retry"])
    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")
