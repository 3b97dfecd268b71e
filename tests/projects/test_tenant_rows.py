"""What a tenant can make again and again does not become ever more."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiKey, Scope
from projects.assets import avatar_views
from projects.assets import services as assets
from projects.models import Asset, Deletion, Project
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.retention import policy as retention
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox, services
from projects.webhooks.sender import SendResult
from render.models import Render
from tests.conftest import Caller
from tests.projects.steps import PROJECTS, create, finished_project, latest_render
from tests.servers.webhook_receiver import receiving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]
AVATARS, UPLOADS, ENDPOINTS = "/api/v1/avatars", "/api/v1/uploads", "/api/v1/webhook-endpoints"
FILE = {"filename": "a.png", "content_type": "image/png", "bytes": 5}


@pytest.fixture(autouse=True)
def _all_scopes(alice, charlie) -> None:
    ApiKey.objects.filter(pk__in=[alice.key.pk, charlie.key.pk]).update(scopes=list(Scope))


@pytest.fixture
def tester(acme) -> Caller:
    """Alice's test key."""
    caller = Caller(acme, "tester")
    ApiKey.objects.filter(pk=caller.key.pk).update(mode=ApiKey.Mode.TEST, scopes=list(Scope))
    return caller


def endpoint_of(caller, url: str = "https://example.com/hook", **fields) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(tenant=caller.tenant, url=url, **fields)


def test_avatars(alice, charlie, tester, monkeypatch) -> None:
    monkeypatch.setattr(avatar_views, "MAX_AVATARS", 2)
    portraits = {
        caller: Asset.objects.create(
            tenant=caller.tenant, is_test=caller is tester, filename="x", content_type="image/png", num_bytes=1,
            key=f"{caller.key.pk}", state="ready", kind="image", facts={"faces": [{"x": 0}]},
        )
        for caller in (alice, charlie, tester)
    }  # fmt: skip

    def name(caller):
        return caller.post(AVATARS, {"name": "x", "image_url": f"asset:{portraits[caller].pk}"}, format="json")

    made = [name(alice) for _ in range(2)]
    refused = name(alice)

    assert [answer.status_code for answer in made] == [201, 201]
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    assert "2 avatars" in refused.json()["detail"]
    assert name(charlie).status_code == name(tester).status_code == 201
    alice.delete(f"{AVATARS}/{made[0].json()['id']}")
    assert name(alice).status_code == 201


def test_assets_that_are_announced_and_deleted(alice, charlie, tester, settings) -> None:
    settings.MAX_ASSETS = 3
    for caller in (tester, alice, alice):
        announced = caller.post(UPLOADS, FILE, format="json")
        assert tester.post(UPLOADS, FILE, format="json").json()["code"] == "too_many_uploads"  # One is half of it.
        assert announced.status_code == 201
        assets.delete(Asset.objects.get(pk=announced.json()["upload_id"]))

    refused = alice.post(UPLOADS, FILE, format="json")

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")
    assert "3 assets" in refused.json()["detail"]
    assert charlie.post(UPLOADS, FILE, format="json").status_code == 201
    Asset.objects.filter(tenant=alice.tenant).update(deleted_at=timezone.now() - timedelta(days=31))
    retention.run()
    assert alice.post(UPLOADS, FILE, format="json").status_code == 201


def test_pings(alice, charlie, tester, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "PINGS_KEPT", 3)
    others = [outbox.ping(endpoint_of(charlie)), outbox.ping(endpoint_of(tester, is_test=True))]
    first, second = endpoint_of(alice), endpoint_of(alice, "https://example.com/other")
    noted = WebhookEvent.objects.create(type=EventType.ENDPOINT_DISABLED, tenant=alice.tenant, subject="x", data={})
    pings = []
    for endpoint in (first, first, first, second, second):
        answer = alice.post(f"{ENDPOINTS}/{endpoint.pk}/test")
        assert answer.status_code == 202
        pings.append(answer.json()["id"])

    kept = WebhookDelivery.objects.filter(endpoint__in=[first, second])
    assert {str(delivery.pk) for delivery in kept} == set(pings[-3:])
    assert WebhookEvent.objects.filter(type=EventType.PING, tenant=alice.tenant, is_test=False).count() == 3
    assert WebhookDelivery.objects.filter(pk__in=[other.pk for other in others]).count() == 2
    # Without its endpoint a ping is counted still.
    second.delete()
    outbox.ping(first)
    assert WebhookEvent.objects.filter(type=EventType.PING, tenant=alice.tenant, is_test=False).count() == 3
    assert WebhookEvent.objects.filter(pk=noted.pk).exists()


def test_an_endpoint_that_is_enabled_and_gone_again_is_told_of_once_an_hour(alice, monkeypatch) -> None:
    now = timezone.now().replace(minute=0, second=0)
    endpoint = endpoint_of(alice)
    for minute in (1, 2, 59, 61):
        monkeypatch.setattr(webhook_delivery.timezone, "now", lambda minute=minute: now + timedelta(minutes=minute))
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=None)
        webhook_delivery._record_result(outbox.ping(endpoint), SendResult(status=410))

    told = WebhookEvent.objects.filter(type=EventType.ENDPOINT_DISABLED, tenant=alice.tenant)
    assert [event.data["disabled_at"][14:16] for event in told.order_by("pk")] == ["01", "01"]


@pytest.fixture
def two_receivers(alice, settings):
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    with receiving() as first, receiving() as second:
        for receiver in (first, second):
            endpoint = endpoint_of(alice, receiver.url, events=["project.canceled"])
            receiver.secrets.append(endpoint.secret)
        yield first, second


def tell(caller, **fields) -> WebhookEvent:
    """Of a project that was canceled."""
    project = create(caller, **fields)
    caller.post(project["urls"]["cancel"])
    while outbox.fan_out():
        pass
    webhook_delivery.send_due()
    return WebhookEvent.objects.filter(project_id=project["id"]).latest("version")


def test_a_long_message_is_kept_once_for_all_receivers(alice, two_receivers) -> None:
    script = "Hello, and welcome. " * 1000
    event = tell(alice, audio_url=None, script=script)

    deliveries = WebhookDelivery.objects.filter(event=event)
    assert [delivery.body for delivery in deliveries] == ["", ""]
    assert json.loads(event.body)["data"]["script"] == script.strip()
    for receiver in two_receivers:
        assert receiver.rejected == 0
        assert [body["data"]["script"] for _, body in receiver.got] == [script.strip()]
    assert all(delivery.delivered_at for delivery in deliveries)

    again = alice.post(f"/api/v1/webhook-deliveries/{deliveries[0].pk}/redeliver")
    webhook_delivery.send_due()
    assert again.status_code == 202
    got = [message for receiver in two_receivers for message in receiver.got]
    assert len(got) == 3 and got[0][1] == got[1][1] == got[2][1]


def test_other_messages_are_kept_with_each_delivery(alice, two_receivers) -> None:
    short = tell(alice)
    assert short.body == "" and all(json.loads(each.body) for each in WebhookDelivery.objects.filter(event=short))

    WebhookEndpoint.objects.filter(tenant=alice.tenant).first().delete()
    alone = tell(alice, audio_url=None, script="Hello, and welcome. " * 1000)
    assert alone.body == "" and json.loads(WebhookDelivery.objects.get(event=alone).body)


def test_a_list_of_deliveries_reads_no_message(alice, two_receivers, admin_client) -> None:
    tell(alice, audio_url=None, script="Hello, and welcome. " * 1000)
    for caller, url in (
        (alice, "/api/v1/webhook-deliveries"),
        (admin_client, "/admin/projects/webhookdelivery/"),
        (admin_client, "/admin/projects/webhookevent/"),
    ):
        with CaptureQueriesContext(connection) as queries:
            assert caller.get(url).status_code == 200
        assert not [query["sql"] for query in queries if '."body"' in query["sql"]], url


def test_progress_that_was_told_yesterday_goes_and_other_news_stay(alice) -> None:
    for kind in (EventType.PROGRESS, EventType.QUEUED):
        for number in range(2):
            event = WebhookEvent.objects.create(type=kind, handed_out_at=timezone.now())
            past = timedelta(hours=25 if number else 23)
            WebhookEvent.objects.filter(pk=event.pk).update(created_at=F("created_at") - past)

    retention.run()

    left = WebhookEvent.objects.filter(project_id=None, tenant=None)
    assert sorted(left.values_list("type", flat=True)) == ["project.progress", "project.queued", "project.queued"]


def test_projects_of_test_keys_end_by_the_plans_days(alice, charlie, tester) -> None:
    alice.tenant.plan.retention_days = 10
    alice.tenant.plan.save()
    old, fresh, live = finished_project(tester), finished_project(tester), finished_project(alice)
    waiting = create(tester)
    for project, days in ((old, 10.1), (fresh, 9.9), (live, 99), (waiting, 10.1)):
        Project.objects.filter(pk=project["id"]).update(updated_at=timezone.now() - timedelta(days=days))

    retention.run()

    assert {project["id"] for project in tester.get(PROJECTS).json()} == {fresh["id"]}
    assert [project["id"] for project in alice.get(PROJECTS).json()] == [live["id"]]
    ended = Deletion.objects.filter(tenant=alice.tenant)
    assert {(str(deletion.project_id), deletion.api_key) for deletion in ended} == {
        (old["id"], None),
        (waiting["id"], None),
    }
    assert latest_render(waiting["id"]).state == "canceled"
    assert Render.objects.filter(tenant=alice.tenant).count() == 4


@pytest.mark.django_db(transaction=True)
def test_many_who_make_an_endpoint_at_once_make_no_more_than_there_may_be(alice, charlie, monkeypatch) -> None:
    monkeypatch.setattr(services, "MAX_ENDPOINTS", 1)
    endpoint_of(charlie)
    callers = [Caller(alice.tenant, str(number)) for number in range(8)]
    ApiKey.objects.filter(tenant=alice.tenant).update(scopes=list(Scope))

    def make(caller) -> int:
        try:
            return caller.post(ENDPOINTS, {"url": "https://example.com/hook"}, format="json").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(make, callers))

    assert statuses == [201, *[409] * 7]
    assert WebhookEndpoint.objects.filter(tenant=alice.tenant).count() == 1
