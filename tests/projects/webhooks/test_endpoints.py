"""Where messages go: endpoints, the `webhook_url` of a project, their secrets, and what staff see of them."""

import pytest
from django.utils import timezone

from accounts.models import ApiKey, Scope
from projects.models import Project
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint
from tests.projects.steps import NEW, claim, create, finish, finished_project
from tests.projects.webhooks.steps import DELIVERIES, ENDPOINTS, deliver_webhooks

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("all_scopes")]


def test_the_secret_is_shown_once(alice, endpoint):
    assert endpoint["secret"].startswith("whsec_")
    assert "secret" not in alice.get(f"{ENDPOINTS}/{endpoint['id']}").json()
    assert "secret" not in alice.get(ENDPOINTS).json()["data"][0]
    body = {"url": "http://127.0.0.1:1/"}
    first = alice.post(ENDPOINTS, body, format="json", HTTP_IDEMPOTENCY_KEY="k").json()
    again = alice.post(ENDPOINTS, body, format="json", HTTP_IDEMPOTENCY_KEY="k").json()
    assert first["secret"] and again["secret"] is None and again["id"] == first["id"]


def test_nobody_without_the_scope_may(alice):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=[Scope.PROJECTS_READ, Scope.PROJECTS_WRITE])

    assert alice.get(ENDPOINTS).status_code == alice.get(DELIVERIES).status_code == 403


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://example.com/hook"])
def test_an_address_that_is_never_called_is_refused(alice, url):
    refused = alice.post(ENDPOINTS, {"url": url}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "url")


@pytest.fixture
def own(alice, receiver) -> str:
    """The secret of messages to `webhook_url`: shown when it is made anew."""
    create(alice, webhook_url=receiver.url)
    [made] = alice.get(ENDPOINTS).json()["data"]
    assert made["url"] is None and "secret" not in made
    secret = alice.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", {"overlap_hours": 0}, format="json").json()["secret"]
    receiver.secrets.append(secret)
    finish(claim())
    deliver_webhooks()
    assert receiver.types == ["project.finished"]
    receiver.got.clear()
    return f"{ENDPOINTS}/{made['id']}"


def test_a_project_is_told_of_at_its_own_url(alice, own, receiver):
    told = create(alice, webhook_url=f"{receiver.url}?job=7")
    create(alice)
    for _ in range(2):
        finish(claim())
    deliver_webhooks()

    [(_, message)] = receiver.got
    assert (message["data"]["id"], message["data"]["webhook_url"]) == (told["id"], f"{receiver.url}?job=7")
    assert receiver.rejected == 0 and WebhookEndpoint.objects.count() == 1
    [delivery] = alice.get(DELIVERIES).json()["data"][:1]
    assert delivery["url"] == f"{receiver.url}?job=7"


def test_it_is_told_of_there_and_at_the_endpoints(alice, own, endpoint, receiver):
    finished_project(alice, webhook_url=receiver.url)
    deliver_webhooks()

    assert sorted(receiver.types) == ["project.finished", "project.finished", "project.processing", "project.queued"]
    assert receiver.rejected == 0


def test_a_receiver_of_one_project_says_nothing_about_those_of_others(alice, own, receiver):
    receiver.answers = [410, 500]
    for _ in range(2):
        finished_project(alice, webhook_url=receiver.url)
    deliver_webhooks()

    assert alice.get(own).json()["enabled"] is True and alice.get(own).json()["failing_since"] is None
    gone, failed = WebhookDelivery.objects.filter(delivered_at=None).order_by("last_status").reverse()
    assert (gone.last_status, failed.last_status) == (500, 410)
    assert gone.next_try_at is not None and failed.next_try_at is None


def test_the_endpoint_of_projects_own_urls_can_be_changed_but_for_its_url(alice, own):
    refused = alice.patch(own, {"url": "https://example.com/"}, format="json")
    assert (refused.status_code, refused.json()["param"]) == (422, "url")
    assert alice.post(f"{own}/test").json()["code"] == "invalid_state"
    changed = alice.patch(own, {"events": ["project.failed"], "enabled": False}, format="json").json()
    assert (changed["events"], changed["enabled"]) == (["project.failed"], False)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://example.com/hook"])
def test_a_project_with_an_address_that_is_never_called_is_refused(alice, url):
    refused = alice.post("/api/v1/projects", {**NEW, "webhook_url": url}, format="json")

    assert (refused.status_code, refused.json()["param"]) == (422, "webhook_url")
    assert len(refused.json()["errors"]) == 1
    assert not Project.objects.exists()


def test_a_dry_run_or_no_webhook_url_makes_no_endpoint(alice, receiver):
    alice.post("/api/v1/projects?dry_run=true", {**NEW, "webhook_url": receiver.url}, format="json")
    for nothing in (None, ""):
        assert create(alice, webhook_url=nothing)["webhook_url"] is None

    assert not WebhookEndpoint.objects.exists()


def test_staff_see_where_a_message_went(admin_client, alice, endpoint):
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")

    rows = admin_client.get("/admin/projects/webhookdelivery/").content.decode()
    delivery = WebhookDelivery.objects.get()
    page = admin_client.get(f"/admin/projects/webhookdelivery/{delivery.pk}/change/").content.decode()

    assert f'<td class="field-receiver">{endpoint["url"]}</td>' in rows
    assert endpoint["url"] in page


def test_staff_see_what_is_wrong_with_an_endpoint(admin_client, alice, endpoint, receiver):
    receiver.answers = [500]
    alice.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    deliver_webhooks()
    delivery = WebhookDelivery.objects.get()

    page = admin_client.get(f"/admin/projects/webhookendpoint/{endpoint['id']}/change/").content.decode()
    of_endpoint = admin_client.get(f"/admin/projects/webhookdelivery/?q={endpoint['id']}").content.decode()

    assert delivery.last_error and delivery.last_error in page
    assert f"/admin/projects/webhookdelivery/?q={endpoint['id']}" in page
    assert f"waiting: {delivery.last_error}" in of_endpoint

    WebhookEndpoint.objects.update(disabled_at=timezone.now())
    of_endpoint = admin_client.get(f"/admin/projects/webhookdelivery/?q={endpoint['id']}").content.decode()
    assert f"not sent, because the endpoint is disabled: {delivery.last_error}" in of_endpoint
