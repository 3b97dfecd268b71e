"""What receivers are told of: changes of projects, progress, and what happens to keys, quotas and endpoints."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.api_keys import keys
from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, Plan
from projects import services
from projects.models import Project
from projects.models.webhooks import WebhookDelivery, WebhookEvent
from projects.webhooks import outbox
from render.lifecycle import reaper, transitions
from render.models import Render
from tests.projects.steps import claim, create, finish, finished_project
from tests.projects.webhooks.steps import ENDPOINTS, deliver_webhooks, listen
from tests.servers.webhook_receiver import receiving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("all_scopes")]


def test_what_happens_to_a_project_is_told_and_verified(alice, endpoint, receiver):
    project = finished_project(alice)
    deliver_webhooks()

    assert receiver.types == ["project.queued", "project.processing", "project.finished"]
    assert receiver.rejected == 0
    versions = [body["data"]["version"] for _, body in receiver.got]
    assert versions == sorted(versions)
    last = receiver.got[-1][1]
    assert set(last) == {"type", "timestamp", "data"} and last["timestamp"].endswith("Z")
    shown = alice.get(project["urls"]["self"]).json()
    assert (last["data"]["id"], last["data"]["status"]) == (project["id"], "finished")
    assert set(last["data"]) == {*shown, "version"}


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_bad_end_is_told_once(alice, endpoint, receiver, end):
    project = create(alice)
    if end == "failed":
        transitions.fail(claim(), ServiceError("no_face", "No face.", param="image_url"))
    else:
        alice.post(project["urls"]["cancel"])
        alice.post(project["urls"]["cancel"])
    deliver_webhooks()
    deliver_webhooks()

    assert [kind for kind in receiver.types if kind not in ("project.queued", "project.processing")] == [
        f"project.{end}"
    ]
    assert receiver.got[-1][1]["data"]["error_code"] == ("no_face" if end == "failed" else "canceled")


def test_the_event_is_there_with_the_change_or_neither_is(alice, endpoint, monkeypatch):
    create(alice)
    claimed = claim()
    before = WebhookEvent.objects.count()
    monkeypatch.setattr(outbox, "enqueue", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        transitions.fail(claimed, ServiceError("no_face", "No face."))
    assert WebhookEvent.objects.count() == before
    assert claimed.render_id in Project.objects.get().takes.values_list("render_id", flat=True)
    assert Project.objects.get().takes.get().render.state == "running"


def test_a_render_that_is_claimed_again_is_told_of_once(alice, endpoint, receiver):
    create(alice)
    transitions.hand_back(claim())
    finish(claim())
    deliver_webhooks()

    assert receiver.types == ["project.queued", "project.processing", "project.finished"]
    assert len({message for message, _ in receiver.got}) == 3


def test_each_take_is_told_as_it_was(alice, endpoint, receiver):
    project = create(alice)
    transitions.fail(claim(), ServiceError("no_face", "No face."))
    services.retry(Project.objects.get(pk=project["id"]), None)
    deliver_webhooks()

    failed = next(body for _, body in receiver.got if body["type"] == "project.failed")
    assert (failed["data"]["status"], len(failed["data"]["takes"])) == ("failed", 1)
    assert receiver.types.count("project.queued") == 2


def test_only_what_was_asked_for_is_told_and_only_to_whom(alice, charlie, endpoint, receiver):
    alice.patch(f"{ENDPOINTS}/{endpoint['id']}", {"events": ["project.finished"]}, format="json")
    finished_project(alice)
    finished_project(charlie)
    ApiKey.objects.filter(pk=alice.key.pk).update(mode="test")
    create(alice, parameters={"engine": "draft"})
    deliver_webhooks()

    assert receiver.types == ["project.finished"]
    assert alice.get(ENDPOINTS).json()["data"] == []  # A test key sees its own.


def test_who_wants_to_be_told_of_nothing_costs_nothing(alice):
    finished_project(alice)

    assert not WebhookEvent.objects.exists()


def later(seconds: float) -> None:
    WebhookEvent.objects.update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_progress_is_told_to_who_wants_it_every_ten_seconds_at_most(alice, charlie, endpoint, receiver):
    listen(alice, endpoint, "project.progress")
    for tenant in (alice, charlie):
        create(tenant)
    claims = [claim(), claim()]

    def move(percent: int) -> None:
        Render.objects.filter(pk__in=[claimed.render_id for claimed in claims]).update(progress=percent)
        reaper.run()
        deliver_webhooks()

    move(10)
    move(20)
    assert [body["data"]["progress"] for _, body in receiver.got] == [10]
    later(10.1)
    move(30)
    later(10.1)
    move(30)  # No news.
    assert [body["data"]["progress"] for _, body in receiver.got] == [10, 30]
    for claimed in claims:
        finish(claimed)
    later(10.1)
    reaper.run()
    deliver_webhooks()
    assert receiver.types == ["project.progress"] * 2


def test_progress_is_tried_once(alice, endpoint, receiver):
    listen(alice, endpoint, "project.progress")
    create(alice)
    claim()
    receiver.answers = [500]
    reaper.run()
    deliver_webhooks()

    delivery = WebhookDelivery.objects.get()
    assert (delivery.tries, delivery.delivered_at, delivery.next_try_at) == (1, None, None)


def test_progress_of_what_has_ended_meanwhile_is_not_told(alice, endpoint, receiver):
    listen(alice, endpoint, "project.progress", "project.finished")
    create(alice)
    claimed = claim()
    reaper.run()
    finish(claimed)
    deliver_webhooks()

    assert receiver.types == ["project.finished"]


def test_a_threshold_is_told_once(alice, charlie, endpoint, receiver):
    listen(alice, endpoint, "usage.threshold_reached")
    for tenant in (alice, charlie):
        Plan.objects.filter(tenants=tenant.tenant).update(monthly_seconds=10)
        finished_project(tenant)
    quota.adjust(alice.tenant, seconds=6, amount_micros=0, reason="test", author=None)
    create(alice)
    for _ in range(2):
        reaper.run()
        deliver_webhooks()

    [(_, message)] = receiver.got
    version = message["data"].pop("version")
    assert version and message["type"] == "usage.threshold_reached"
    month = f"{timezone.now():%Y-%m}"
    assert message["data"] == {
        **{"measure": "seconds", "percent": 80, "used": 9, "allowed": 10},
        **{"month": month, "currency": "USD"},
    }


def test_a_key_that_expires_is_told_of_unless_it_was_rotated(alice, charlie, endpoint, receiver):
    listen(alice, endpoint, "api_key.expiring")
    soon = timezone.now() + timedelta(days=6)
    expiring, _ = keys.issue(alice.tenant, name="soon", expires_at=soon)
    keys.issue(alice.tenant, name="later", expires_at=soon + timedelta(days=2))
    keys.issue(alice.tenant, name="test", mode=ApiKey.Mode.TEST, expires_at=soon)
    keys.issue(charlie.tenant, name="another's", expires_at=soon)
    rotated, _ = keys.issue(alice.tenant, name="rotated", expires_at=soon)
    keys.rotate(rotated, overlap=timedelta(days=1), expires_at=None)
    for _ in range(2):
        reaper.run()
        deliver_webhooks()

    [(_, message)] = receiver.got
    assert message["data"] | {"version": 0} == {
        **{"id": str(expiring.pk), "name": "soon", "prefix": expiring.prefix, "mode": "live"},
        **{"expires_at": soon.isoformat(), "version": 0},
    }


def test_another_endpoint_hears_of_one_that_was_disabled(alice, endpoint, receiver):
    listen(alice, endpoint, "webhook_endpoint.disabled")
    with receiving() as other:
        broken = alice.post(ENDPOINTS, {"url": other.url}, format="json").json()
        other.answers = [410]
        alice.post(f"{ENDPOINTS}/{broken['id']}/test")
        deliver_webhooks()
        deliver_webhooks()

    [(_, message)] = receiver.got
    assert message["type"] == "webhook_endpoint.disabled"
    assert (message["data"]["id"], message["data"]["url"]) == (broken["id"], broken["url"])
    assert message["data"]["reason"] == "gone"
