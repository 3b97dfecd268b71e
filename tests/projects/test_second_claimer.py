"""Two at once: what one does while the transaction of another one, who came first, is still open."""

import contextlib
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.api import idempotency
from accounts.api_keys import keys
from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, Plan, Tenant, UsageEntry
from projects import services
from projects.assets import claims as asset_claims
from projects.assets import services as assets
from projects.models import Asset, Deletion, Project, Take
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.retention import project_deletion
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox
from projects.webhooks.sender import SendResult
from render import fence
from render.fence import Claim, Fenced
from render.lifecycle import reaper, transitions
from render.machine import nodes
from render.models import Attempt, Node, ReaperClock, Render, State
from render.signals import render_changed
from tests.projects.steps import NEW, PROJECTS, claim, create, finish, finished_project, latest_render
from tests.two_connections import another_transaction, is_free, lock, meanwhile, never_waiting, waiting_for

pytestmark = pytest.mark.django_db(transaction=True)

END_IT = """
UPDATE render_render SET state = 'canceled', lease_until = NULL, completed_at = now() WHERE id = %s
"""


@pytest.fixture
def running(alice) -> Claim:
    create(alice)
    return claim()


@pytest.fixture
def endpoint(alice) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        tenant=alice.tenant, url="https://example.com/hook", events=[EventType.QUEUED, EventType.CANCELED]
    )


@pytest.fixture
def delivery(alice, endpoint) -> WebhookDelivery:
    create(alice)
    outbox.fan_out()
    return WebhookDelivery.objects.select_related("event").get()


# Who comes second finds what the first one has left.


def test_a_worker_whose_render_is_being_ended_writes_nothing(running) -> None:
    def fail() -> None:
        transitions.fail(running, ServiceError("no_face", "No face."))

    with pytest.raises(Fenced):
        meanwhile(fail, END_IT, running.render_id)

    assert UsageEntry.objects.get().billed_seconds is None
    assert Render.objects.get().error_code == ""


def test_a_render_that_is_just_ending_cannot_be_canceled(alice) -> None:
    render = latest_render(create(alice)["id"])
    finish_it = END_IT.replace("canceled", "finished")

    with pytest.raises(ServiceError, match="has ended already"):
        meanwhile(lambda: transitions.request_cancel(render), finish_it, render.pk)


def test_a_cancel_of_what_is_just_being_claimed_asks_its_worker(alice) -> None:
    render = latest_render(create(alice)["id"])
    take_it = "UPDATE render_render SET state = 'running', attempt = 1, lease_until = now() + '1 hour' WHERE id = %s"

    asked = meanwhile(lambda: transitions.request_cancel(render), take_it, render.pk)

    assert (asked.state, asked.cancel_requested_at is not None) == (State.RUNNING, True)
    assert UsageEntry.objects.get().billed_seconds is None


def test_a_key_that_is_just_being_revoked_has_no_successor(alice) -> None:
    with pytest.raises(ServiceError) as refused:
        meanwhile(
            lambda: keys.rotate(alice.key, overlap=timedelta(hours=1), expires_at=None),
            "UPDATE accounts_apikey SET revoked_at = now() WHERE id = %s",
            alice.key.pk,
        )

    assert refused.value.code == "invalid_state"
    assert ApiKey.objects.count() == 1


ACTS = {"finalize": services.finalize, "retry": services.retry}


@pytest.fixture(params=ACTS)
def another_take(request, alice):
    """A project that could get another take, and what would add it."""
    project = finished_project(alice)
    if request.param == "retry":
        services.finalize(Project.objects.get(), alice.key)
        transitions.request_cancel(latest_render(project["id"]))
    made = Project.objects.get()
    return made, lambda: ACTS[request.param](Project.objects.get(pk=made.pk), alice.key)


def test_a_project_that_is_just_being_deleted_gets_no_take(another_take) -> None:
    project, act = another_take
    Project.objects.create(tenant=project.tenant)  # that is not deleted
    before = Take.objects.count()

    with pytest.raises(ServiceError) as refused:
        meanwhile(act, "UPDATE projects_project SET deleted_at = now() WHERE id = %s", project.pk)

    assert refused.value.code == "not_found"
    assert Take.objects.count() == before


def test_who_adds_a_take_locks_the_tenant_before_the_project(another_take) -> None:
    """As a worker does: who has the one never waits for who has the other."""
    project, act = another_take

    with another_transaction() as other:
        lock(other, Tenant)
        with waiting_for(other, act) as future:
            assert not future.done()
            assert is_free(other, project)
            other.commit()
            future.result(20)


def test_a_take_is_added_whole_or_not_at_all(another_take, monkeypatch) -> None:
    _, act = another_take
    before = Take.objects.count(), Render.objects.count(), UsageEntry.objects.count()
    monkeypatch.setattr(Take, "save", lambda take, **_: 1 / 0)  # The last row of all.

    with pytest.raises(ZeroDivisionError):
        act()

    assert (Take.objects.count(), Render.objects.count(), UsageEntry.objects.count()) == before


def test_a_project_is_made_whole_or_not_at_all(alice, monkeypatch) -> None:
    monkeypatch.setattr(Take, "save", lambda take, **_: 1 / 0)  # The last row of all.

    with pytest.raises(ZeroDivisionError):
        alice.post(PROJECTS, NEW, format="json")

    assert not Project.objects.exists() and not Render.objects.exists() and not UsageEntry.objects.exists()


def test_an_endpoint_that_has_failed_for_days_is_known_to_two_that_fail_at_once(endpoint, delivery) -> None:
    long_ago = "UPDATE projects_webhookendpoint SET failing_since = now() - interval '6 days' WHERE id = %s"

    meanwhile(lambda: webhook_delivery._record_result(delivery, SendResult(status=500)), long_ago, endpoint.pk)

    endpoint.refresh_from_db()
    assert endpoint.disabled_reason == "failing"


def test_a_hold_counts_what_another_one_is_just_holding(alice) -> None:
    create(alice)
    held = UsageEntry.objects.get()
    Plan.objects.update(monthly_seconds=100)

    def hold() -> None:
        quota.set_hold(held.render_id, 60)

    with pytest.raises(ServiceError, match="50 s are left"), another_transaction() as other:
        lock(other, Tenant)
        with waiting_for(other, hold) as future:
            other.execute(
                "INSERT INTO accounts_usageentry (tenant_id, reserved_seconds, billed_seconds, price_micros, reason,"
                " amount_micros, currency, gpu_seconds, cost_micros, engine, resolution, user_label, is_test)"
                " VALUES (%s, 0, 49, 0, 'x', 0, 'USD', 0, 0, '', '', '', false)",
                [alice.tenant.pk],
            )
            other.commit()
            future.result(20)


def test_an_adjustment_waits_for_one_that_is_just_being_made(alice) -> None:
    with another_transaction() as other:
        lock(other, Tenant)
        with waiting_for(other, lambda: adjust(alice.tenant)) as future:
            assert not future.done()
            other.commit()
            future.result(20)


def adjust(tenant: Tenant) -> None:
    quota.adjust(tenant, seconds=1, amount_micros=0, reason="x", author=None)


# Who comes second takes something else, and does not wait.


def test_a_second_sender_leaves_what_the_first_one_is_taking(delivery) -> None:
    with another_transaction() as other, never_waiting():
        lock(other, WebhookDelivery)
        assert webhook_delivery._claim([]) is None
        other.rollback()
        assert webhook_delivery._claim([]) == delivery
    assert webhook_delivery._claim([]) is None


def test_a_taken_delivery_is_noted_before_another_one_can_take_it(delivery) -> None:
    with another_transaction() as other, transaction.atomic():
        assert webhook_delivery._claim([]) == delivery
        assert not is_free(other, delivery)


def test_a_second_one_leaves_the_events_that_the_first_one_is_handing_out(alice, endpoint) -> None:
    create(alice)
    with another_transaction() as other, never_waiting():
        lock(other, WebhookEvent)
        assert outbox.fan_out() == 0
        other.rollback()
        assert outbox.fan_out() == 1
    assert WebhookDelivery.objects.count() == 1


def test_an_event_is_handed_out_to_all_or_to_nobody(alice, endpoint, monkeypatch) -> None:
    create(alice)
    WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://x.example", events=[EventType.QUEUED])
    make, made = WebhookDelivery.objects.create, []

    def fail_at_the_second(**fields):
        made.append(fields)
        return make(**fields) if len(made) == 1 else 1 / 0

    monkeypatch.setattr(WebhookDelivery.objects, "create", fail_at_the_second)
    with contextlib.suppress(ZeroDivisionError):
        outbox.fan_out()

    assert len(made) == 2
    assert not WebhookDelivery.objects.exists()


def test_a_second_sweeper_leaves_what_the_first_one_is_taking(alice) -> None:
    alice.delete(create(alice)["urls"]["self"])
    with another_transaction() as other, never_waiting():
        lock(other, Deletion)
        assert not project_deletion.sweep_next()
        other.rollback()
        assert project_deletion.sweep_next()


def test_what_a_sweeper_takes_is_noted_before_another_one_can_take_it(alice) -> None:
    alice.delete(create(alice)["urls"]["self"])

    with another_transaction() as other, transaction.atomic():
        assert project_deletion._claim() == Deletion.objects.get()
        assert not is_free(other, Deletion.objects.get())


def test_a_second_reaper_leaves_what_the_first_one_is_taking(running) -> None:
    reaper.run()
    Render.objects.update(lease_until=Now() - timedelta(hours=1))
    with another_transaction() as other, never_waiting():
        lock(other, Render)
        assert reaper._reap_expired() == 0
        other.rollback()
        assert reaper._reap_expired() == 1


def test_a_second_worker_leaves_what_the_first_one_is_claiming(alice) -> None:
    create(alice)
    node = nodes.heartbeat("cpu")
    with another_transaction() as other, never_waiting():
        lock(other, Render)
        assert transitions.claim_next("cpu", node) is None
        other.rollback()
        assert transitions.claim_next("cpu", node) is not None


def test_a_second_checker_leaves_what_the_first_one_is_taking(alice) -> None:
    Asset.objects.create(
        tenant=alice.tenant, filename="x", content_type="image/png", num_bytes=1, key="k", check_after=Now()
    )
    node = nodes.heartbeat("cpu")
    with another_transaction() as other, never_waiting():
        lock(other, Asset)
        assert asset_claims.claim(node) is None
        other.rollback()
        assert asset_claims.claim(node) is not None


def test_the_same_request_a_second_time_meanwhile_is_told_to_come_again(alice) -> None:
    names: list[str] = []
    held, done = threading.Event(), threading.Event()
    take = idempotency._lock

    def hold() -> None:
        try:
            with transaction.atomic():
                take(names[0])
                held.set()
                done.wait(20)
        finally:
            connection.close()

    headers = {"Idempotency-Key": "once"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(idempotency, "_lock", names.append)
        alice.post(PROJECTS, {**NEW, "title": ""}, format="json", headers=headers)
    first = threading.Thread(target=hold)
    first.start()
    assert held.wait(20)
    try:
        refused = alice.post(PROJECTS, NEW, format="json", headers=headers)
    finally:
        done.set()
        first.join()

    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_in_progress")
    assert alice.post(PROJECTS, NEW, format="json", headers=headers).status_code == 201


def test_what_was_done_and_what_was_answered_are_kept_together(alice, monkeypatch) -> None:
    monkeypatch.setattr(idempotency, "_store", lambda *arguments: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        alice.post(PROJECTS, NEW, format="json", headers={"Idempotency-Key": "once"})

    assert not Project.objects.exists()


# A row that is only referred to keeps nobody waiting, and a lock is of no more than is needed.


def test_rows_that_others_refer_to_are_locked_without_waiting(alice, endpoint) -> None:
    """An insert holds a lock on what it refers to until its transaction ends, and there are many of them."""
    create(alice)
    create(alice)
    node = nodes.heartbeat("cpu")
    ReaperClock.objects.get_or_create(pk=1)
    with another_transaction() as other, never_waiting():
        for model in (Tenant, Plan, ApiKey, Project, Render, Node, UsageEntry, WebhookEndpoint, Take, Asset):
            lock(other, model, how="KEY SHARE")
        claimed = transitions.claim_next("cpu", node)
        assert claimed is not None
        finish(claimed)
        services.finalize(Take.objects.get(render=claimed.render_id).project, alice.key)
        for render in Render.objects.filter(state=State.QUEUED):
            transitions.request_cancel(render)
        project = Take.objects.get(render=claimed.render_id).project
        services.retry(project, alice.key)
        alice.delete(f"{PROJECTS}/{project.pk}")
        lock(other, WebhookEvent, how="KEY SHARE")
        assert outbox.fan_out()
        lock(other, WebhookDelivery, how="KEY SHARE")
        lock(other, Deletion, how="KEY SHARE")
        delivery = webhook_delivery._claim([])
        assert delivery is not None
        webhook_delivery._record_result(delivery, SendResult(status=500))
        assert project_deletion._claim() is not None
        assert create(alice)
        again = transitions.claim_next("cpu", node)
        assert again is not None
        Render.objects.filter(pk=again.render_id).update(lease_until=Now() - timedelta(hours=1))
        assert reaper._reap_expired() == 1


def test_a_claim_of_a_delivery_locks_neither_its_endpoint_nor_its_event(delivery) -> None:
    with another_transaction() as other, never_waiting():
        lock(other, WebhookEndpoint)
        lock(other, WebhookEvent)
        assert webhook_delivery._claim([]) == delivery


def test_a_hold_locks_its_tenant_and_not_the_plan_of_many(alice) -> None:
    with another_transaction() as other, never_waiting():
        lock(other, Plan)
        create(alice)
        assert quota.adjust(alice.tenant, seconds=1, amount_micros=0, reason="x", author=None).billed_seconds == 1


def test_a_step_locks_its_render_and_not_the_tenant(running) -> None:
    with another_transaction() as other, never_waiting():
        lock(other, Tenant)
        with fence.fence(running) as render:
            assert not is_free(other, render)
        assert is_free(other, render)


def test_a_rotation_locks_its_key_and_not_the_tenant(alice) -> None:
    with another_transaction() as other, never_waiting():
        lock(other, Tenant)
        assert keys.rotate(alice.key, overlap=timedelta(hours=1), expires_at=None)


# Undone as a whole.


def test_a_rotation_is_done_whole_or_not_at_all(alice, monkeypatch) -> None:
    ApiKey.objects.update(legacy_200=True)
    monkeypatch.setattr(keys, "Q", lambda **_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        keys.rotate(alice.key, overlap=timedelta(hours=1), expires_at=None)

    assert ApiKey.objects.count() == 1


def test_a_claim_is_made_whole_or_not_at_all(alice, monkeypatch) -> None:
    create(alice)
    monkeypatch.setattr(render_changed, "send", lambda **_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        claim()

    assert not Attempt.objects.exists()
    assert Render.objects.get().state == State.QUEUED


def test_a_cancel_is_done_whole_or_not_at_all(alice, monkeypatch) -> None:
    create(alice)
    monkeypatch.setattr(render_changed, "send", lambda **_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        transitions.request_cancel(Render.objects.get())

    assert (Render.objects.get().state, UsageEntry.objects.get().billed_seconds) == (State.QUEUED, None)


def test_a_step_is_done_whole_or_not_at_all(running) -> None:
    with pytest.raises(ZeroDivisionError), fence.fence(running) as render:
        Render.objects.filter(pk=render.pk).update(progress=77)
        _ = 1 / 0

    assert Render.objects.get().progress == 0


def test_a_crash_is_counted_with_what_it_leads_to(running, monkeypatch, caplog) -> None:
    Render.objects.update(lease_until=Now() - timedelta(hours=1))
    monkeypatch.setattr(render_changed, "send", lambda **_: 1 / 0)

    reaper._reap_expired()  # It goes on with the others.

    assert "ZeroDivisionError" in caplog.text
    assert (Render.objects.get().crashes, Render.objects.get().state) == (0, State.RUNNING)


def test_a_deletion_has_its_receipt_or_did_not_happen(alice, monkeypatch) -> None:
    create(alice)
    monkeypatch.setattr(project_deletion, "enqueue", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        project_deletion.delete_project(Project.objects.get(), alice.key)

    assert Project.objects.get().deleted_at is None
    assert not Deletion.objects.exists()


def test_a_project_is_forgotten_whole_or_not_at_all(alice, monkeypatch) -> None:
    create(alice, prompt="secret")
    monkeypatch.setattr(project_deletion, "_delete_speech", lambda project: None)
    monkeypatch.setattr(project_deletion, "WebhookEvent", None)

    with pytest.raises(AttributeError):
        project_deletion._forget(Project.objects.get())

    assert Project.objects.get().prompt == Render.objects.get().prompt == "secret"


def test_an_outcome_is_noted_whole_or_not_at_all(endpoint, delivery, monkeypatch) -> None:
    WebhookEndpoint.objects.update(failing_since=Now() - timedelta(days=6))
    disabled = outbox.record_once

    def break_off(events) -> None:
        disabled(events)
        raise ZeroDivisionError

    monkeypatch.setattr(outbox, "record_once", break_off)
    before = WebhookEvent.objects.count()

    with pytest.raises(ZeroDivisionError):
        webhook_delivery._record_result(delivery, SendResult(status=500))

    assert WebhookEvent.objects.count() == before


def test_a_hold_is_not_set_by_one_that_is_refused(alice) -> None:
    create(alice)
    entry = UsageEntry.objects.get()
    Plan.objects.update(spend_cap_micros=10, prices={"instant": {"480p": 1000}})
    UsageEntry.objects.update(price_micros=F("price_micros") + 1000)

    with pytest.raises(ServiceError):
        quota.set_hold(entry.render_id, 5)

    assert UsageEntry.objects.get().reserved_seconds == 1


def test_speech_that_is_being_looked_at_is_waited_for(alice) -> None:
    asset = Asset.objects.create(
        tenant=alice.tenant, filename="x", content_type="audio/wav", num_bytes=1, key="a/b.wav", state="ready",
        origin="speech",
    )  # fmt: skip
    with another_transaction() as other:
        lock(other, Asset)
        with waiting_for(other, lambda: assets.delete_unused_speech(asset)) as future:
            assert not future.done()
            other.commit()
            future.result(20)
