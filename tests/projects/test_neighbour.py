"""Whatever is done for one tenant, another one who has everything, too, finds it as it was."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now

from accounts.api import idempotency, request_rates
from accounts.api_keys import keys
from accounts.billing import quota, reports
from accounts.errors import ServiceError
from accounts.models import ApiKey, IdempotentResponse, RequestWindow, UsageEntry, UsageThreshold
from accounts.periods import Period
from projects import services
from projects.models import Deletion, Project, Take
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.retention import policy as retention
from projects.retention import project_deletion
from projects.webhooks import delivery as webhook_delivery
from projects.webhooks import outbox, polled_events
from projects.webhooks.sender import SendResult
from render import fence
from render.fence import Claim
from render.lifecycle import progress, reaper, retries, transitions
from render.models import Attempt, Node, Phase, Render, Segment, State
from tests.neighbour import SECRET
from tests.projects.steps import (
    NO_SOURCES,
    PROJECTS,
    TWO_SEGMENTS,
    claim,
    create,
    finish,
    finished_project,
    latest_render,
)

pytestmark = pytest.mark.usefixtures("neighbour")

OWN_URL = "https://example.com/own"


@pytest.fixture
def claimed(alice) -> Claim:
    """A prepared render of two segments, of which one is stored, with a sibling of the same tenant that waits."""
    create(alice)
    mine = claim()
    create(alice)
    progress.prepared(mine, sources=NO_SOURCES, plan=TWO_SEGMENTS, num_frames=50, segments_total=2)
    return mine


def segment(mine: Claim, index: int = 0) -> None:
    progress.record_segment(
        mine, index=index, key=f"k{index}", num_bytes=1, frames=25, state_key="s", render_seconds=2.0, progress=50
    )


def sibling(mine: Claim) -> Render:
    return Render.objects.exclude(tenant__name="Neighbour").exclude(pk=mine.render_id).get()


def untouched(render: Render) -> None:
    assert (render.state, render.attempt, render.progress, render.phase) == (State.QUEUED, 0, 0, Phase.PREPARE)
    assert (render.crashes, render.failures, render.error_code, render.plan) == (0, 0, "", None)
    held = UsageEntry.objects.get(render_id=render.pk)
    assert (held.reserved_seconds, held.billed_seconds, held.amount_micros) == (1, None, 0)


STEPS: dict[str, Callable[[Claim], object]] = {
    "segment": segment,
    "enter": lambda mine: progress.enter(mine, Phase.ASSEMBLING, progress=92),
    "renew": lambda mine: fence.renew(mine, progress=30),
    "hand over": lambda mine: transitions.hand_over(mine, "gpu", Phase.WAITING),
    "hand back": transitions.hand_back,
    "fail": lambda mine: transitions.fail(mine, ServiceError("no_face", "No face."), trace="trace"),
    "try later": lambda mine: retries.retry_later(mine, ServiceError("internal", "No."), trace="trace"),
    "cancel": transitions.cancel,
    "ask to cancel": lambda mine: transitions.request_cancel(Render.objects.get(pk=mine.render_id)),
    "reap": lambda mine: retries.reap(Render.objects.get(pk=mine.render_id)),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_a_worker_concerns_its_render_alone(claimed, step) -> None:
    other = Attempt.objects.create(render=sibling(claimed), number=claimed.attempt)

    STEPS[step](claimed)

    untouched(sibling(claimed))
    other.refresh_from_db()
    assert (other.outcome, other.render_seconds, other.ended_at) == ("", 0, None)


def test_the_end_of_a_render_concerns_it_alone(claimed) -> None:
    segment(claimed)
    segment(claimed, 1)

    transitions.finish(claimed, video_key="film", poster_key="poster", duration_seconds=2.0)

    assert Render.objects.get(pk=claimed.render_id).video_key == "film"
    assert UsageEntry.objects.get(render_id=claimed.render_id).billed_seconds == 2
    untouched(sibling(claimed))


def test_a_beat_of_one_node_is_no_beat_of_another(claimed) -> None:
    long_ago = Now() - timedelta(days=3)
    other = Node.objects.create(name="another", queue="cpu", heartbeat_at=long_ago)
    Node.objects.update(heartbeat_at=long_ago)

    fence.renew(claimed)

    assert Node.objects.filter(heartbeat_at__gt=Now() - timedelta(days=1)).get() != other


def test_the_reaper_takes_what_has_expired_and_nothing_else(claimed) -> None:
    reaper.run()
    Render.objects.filter(pk=claimed.render_id).update(lease_until=Now() - timedelta(seconds=1))

    assert reaper.run() == 1
    untouched(sibling(claimed))


def test_takes_of_one_project_are_not_those_of_another(alice, settings) -> None:
    first, second = create(alice), create(alice)
    Render.objects.filter(take__project=first["id"]).update(not_before=Now() + timedelta(days=1))
    finish(claim())

    with pytest.raises(ServiceError, match="no finished draft"):
        services.finalize(Project.objects.get(pk=first["id"]), alice.key)
    services.finalize(Project.objects.get(pk=second["id"]), alice.key)
    with pytest.raises(ServiceError, match="is queued"):
        services.retry(Project.objects.get(pk=first["id"]), alice.key)
    assert Take.objects.filter(project=first["id"]).count() == 1
    services.cancel(Project.objects.get(pk=second["id"]))
    assert latest_render(first["id"]).state == State.QUEUED
    before = Project.objects.get(pk=first["id"]).updated_at
    assert services.retry(Project.objects.get(pk=second["id"]), alice.key).number == 3
    assert Project.objects.get(pk=first["id"]).updated_at == before


def test_a_deleted_project_takes_nothing_of_others_with_it(alice) -> None:
    """Neither of the neighbour nor of the tenant's own other project."""
    written = {"prompt": SECRET, "script": "Spoken.", "metadata": {"a": "b"}, "webhook_url": OWN_URL}
    gone, kept = (create(alice, image_url="https://example.com/a.png", audio_url="", **written) for _ in range(2))
    for project in (gone, kept):
        IdempotentResponse.objects.create(
            tenant=alice.tenant, route="x", key=project["id"], fingerprint="x", status=201, body={"id": project["id"]}
        )
        # Equal ids in another tenant's answers are that tenant's.
    foreign = IdempotentResponse.objects.create(
        tenant=Project.objects.filter(tenant__name="Neighbour")[0].tenant,
        route="x", key="x", fingerprint="x", status=201, body={"id": gone["id"]},
    )  # fmt: skip
    before = Project.objects.values().get(pk=kept["id"]), Render.objects.values().get(take__project=kept["id"])

    alice.delete(gone["urls"]["self"])
    while project_deletion.sweep_next():
        pass

    after = Project.objects.values().get(pk=kept["id"]), Render.objects.values().get(take__project=kept["id"])
    assert after == before
    assert after[1]["prompt"] == SECRET and after[1]["script"]["text"] == "Spoken."
    assert WebhookEvent.objects.filter(project_id=kept["id"]).exists()
    assert not WebhookEvent.objects.filter(project_id=gone["id"]).exists()
    assert IdempotentResponse.objects.filter(key=kept["id"]).exists()
    assert not IdempotentResponse.objects.filter(key=gone["id"]).exists()
    assert IdempotentResponse.objects.filter(pk=foreign.pk).exists()
    forgotten = Render.objects.get(take__project=gone["id"])
    assert (forgotten.prompt, forgotten.script, forgotten.image_url, forgotten.audio_url) == ("", {}, "", "")


def test_a_sweep_is_of_one_deletion(alice) -> None:
    projects = [create(alice) for _ in range(2)]
    for project in projects:
        alice.delete(project["urls"]["self"])
    [first, second] = Deletion.objects.filter(completed_at=None).order_by("sweep_after")

    assert project_deletion.sweep_next()

    before = second.sweep_after
    first.refresh_from_db()
    second.refresh_from_db()
    assert (second.sweep_after, second.files, second.completed_at) == (before, 0, None)
    assert first.sweep_after > before
    assert Project.objects.get(pk=first.project_id).title == project_deletion.TITLE
    assert Project.objects.get(pk=second.project_id).title != project_deletion.TITLE


def test_only_who_has_used_it_pays(alice, neighbour) -> None:
    """The neighbour has used and holds seconds and money, with live and test keys."""
    assert quota.seconds_available(alice.tenant) == 3600
    used = quota.seconds_available(neighbour.tenant)
    assert used == 3600 - (2 * 20 + 4 * 2 + 5)
    create(alice)
    held = UsageEntry.objects.get(tenant=alice.tenant)
    assert quota.seconds_available(alice.tenant) == 3599

    quota.set_hold(held.render_id, 3600)
    with pytest.raises(ServiceError, match="0 s are left"):
        create_refused(alice)
    quota.settle(held.render_id, seconds=10, gpu_seconds=0)

    assert quota.seconds_available(alice.tenant) == 3590
    assert quota.seconds_available(neighbour.tenant) == used


def create_refused(caller) -> None:
    answer = caller.post(PROJECTS, {"title": "x", "image_url": "https://example.com/a.png",
                                    "audio_url": "https://example.com/b.wav"}, format="json")  # fmt: skip
    assert answer.status_code == 402, answer.content
    raise ServiceError(answer.json()["code"], answer.json()["detail"])


def test_a_spend_cap_counts_ones_own_money_in_ones_own_currency(alice, plan) -> None:
    plan.spend_cap_micros = 5000
    plan.save()
    made = [finished_project(alice, parameters={"engine": "instant"}) for _ in range(2)]
    assert len(made) == 2

    assert UsageEntry.objects.filter(tenant=alice.tenant).values_list("amount_micros", flat=True)[0] == 2000
    UsageEntry.objects.filter(tenant=alice.tenant).update(currency="EUR")
    create(alice, parameters={"engine": "instant", "frame_num": 125})
    with pytest.raises(ServiceError, match="spend cap"):
        create_more(alice)


def create_more(caller) -> None:
    answer = caller.post(
        PROJECTS,
        {"title": "x", "image_url": "https://example.com/a.png", "audio_url": "https://example.com/b.wav",
         "parameters": {"engine": "instant"}},
        format="json",
    )  # fmt: skip
    raise ServiceError(answer.json()["code"], answer.json()["detail"])


def test_an_adjustment_is_of_one_tenant(alice, neighbour) -> None:
    with pytest.raises(ServiceError, match="Only 0 s"):
        quota.adjust(alice.tenant, seconds=-1, amount_micros=0, reason="x", author=None)

    quota.adjust(alice.tenant, seconds=3, amount_micros=9, reason=" x ", author=None)

    assert quota.seconds_available(alice.tenant) == 3597
    assert UsageEntry.objects.get(tenant=alice.tenant).reason == "x"


def test_usage_is_told_to_its_tenant_by_the_kind_of_key(alice, neighbour) -> None:
    period = Period.month(UsageEntry.objects.all()[0].created_at.date())
    assert reports.totals(quota.entries(alice.tenant, period, is_test=False)) == []

    [live] = reports.totals(quota.entries(neighbour.tenant, period, is_test=False))
    [test] = reports.totals(quota.entries(neighbour.tenant, period, is_test=True))

    assert (live["billed_seconds"], live["held_seconds"], live["amount_micros"]) == (4 * 2 + 5, 40, 4 * 14 + 35)
    assert (test["billed_seconds"], test["held_seconds"], test["renders"]) == (4 * 2, 40, 4)


def test_a_threshold_is_of_one_tenant(alice, plan) -> None:
    plan.monthly_seconds = 1
    plan.save()

    create(alice)

    assert set(UsageThreshold.objects.filter(tenant=alice.tenant).values_list("percent", flat=True)) == {80, 100}


@pytest.mark.parametrize("policy", ["read", "create"])
def test_a_request_is_counted_for_one_tenant_and_policy(alice, policy) -> None:
    assert request_rates.count_request(alice.tenant, policy).count == 1
    assert request_rates.count_request(alice.tenant, policy).count == 2
    assert RequestWindow.objects.get(tenant=alice.tenant).policy == policy


def test_a_key_is_rotated_revoked_and_used_alone(alice, bob, acme) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(last_used_at=None)
    ApiKey.objects.filter(pk=bob.key.pk).update(last_used_at=None)
    before = ApiKey.objects.values().get(pk=bob.key.pk)

    alice.get(PROJECTS)
    successor, _ = keys.rotate(alice.key, overlap=timedelta(hours=1), expires_at=None)
    keys.revoke(alice.key)

    assert ApiKey.objects.values().get(pk=bob.key.pk) == before
    alice.key.refresh_from_db()
    assert alice.key.last_used_at is not None and alice.key.revoked_at is not None
    assert ApiKey.objects.get(pk=successor.pk).revoked_at is None


def everybody_hands_out() -> None:
    while outbox.fan_out():
        pass


@pytest.fixture
def endpoints(alice, charlie) -> dict[tuple[str, bool], WebhookEndpoint]:
    """Of Alice and of a stranger, of live and of test projects, told of everything."""
    return {
        (caller.tenant.name, is_test): WebhookEndpoint.objects.create(
            tenant=caller.tenant, is_test=is_test, url=f"https://{caller.tenant.name}.example", events=list(EventType)
        )
        for caller in (alice, charlie)
        for is_test in (False, True)
    }


@pytest.mark.parametrize("is_test", [False, True])
def test_a_projects_events_go_to_its_tenants_endpoints_of_its_kind(alice, endpoints, is_test) -> None:
    if is_test:
        ApiKey.objects.filter(pk=alice.key.pk).update(mode="test")
    create(alice)
    everybody_hands_out()

    told = WebhookDelivery.objects.filter(event__project_id=Project.objects.get(tenant=alice.tenant).pk)
    assert {delivery.endpoint for delivery in told} == {endpoints["Acme", is_test]}


@pytest.mark.parametrize("is_test", [False, True])
def test_what_concerns_no_project_is_told_to_the_same(alice, endpoints, is_test) -> None:
    event = WebhookEvent.objects.create(type=EventType.KEY_EXPIRING, tenant=alice.tenant, is_test=is_test, data={})

    everybody_hands_out()

    assert [delivery.endpoint for delivery in event.deliveries.all()] == [endpoints["Acme", is_test]]


def test_an_endpoint_is_told_of_what_it_wants_while_it_is_enabled(alice, endpoints) -> None:
    wants, disabled = (
        WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://x.example", events=["project.queued"], **more)
        for more in ({}, {"disabled_at": Now()})
    )
    WebhookEndpoint.objects.filter(pk=endpoints["Acme", False].pk).update(events=["project.canceled"])

    project = create(alice)
    alice.post(project["urls"]["cancel"])
    everybody_hands_out()

    told = WebhookDelivery.objects.filter(event__project_id=project["id"]).values_list("endpoint", "event__type")
    assert set(told) == {(wants.pk, "project.queued"), (endpoints["Acme", False].pk, "project.canceled")}


def test_a_project_with_a_url_of_its_own_is_told_of_at_the_endpoints_too(alice, endpoints) -> None:
    project = create(alice, webhook_url=OWN_URL)
    own = WebhookEndpoint.objects.get(tenant=alice.tenant, url="")
    assert own.is_test is False
    WebhookEndpoint.objects.filter(pk=own.pk).update(events=list(EventType))

    everybody_hands_out()

    told = WebhookDelivery.objects.filter(event__project_id=project["id"]).values_list("endpoint", "url")
    assert set(told) == {(own.pk, OWN_URL), (endpoints["Acme", False].pk, "")}


def test_who_has_no_endpoint_has_no_event(alice, charlie, endpoints) -> None:
    WebhookEndpoint.objects.filter(tenant=alice.tenant).delete()
    before = WebhookEvent.objects.count()
    create(alice)
    assert WebhookEvent.objects.count() == before

    WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://x.example", disabled_at=Now())
    create(alice)
    assert WebhookEvent.objects.count() == before


def test_an_outcome_is_noted_on_its_delivery_and_endpoint_alone(alice, endpoints) -> None:
    create(alice), create(alice)
    everybody_hands_out()
    [first, second] = WebhookDelivery.objects.filter(endpoint=endpoints["Acme", False]).order_by("event")
    other = WebhookDelivery.objects.values().get(pk=second.pk)

    webhook_delivery._record_result(first, SendResult(status=500))
    assert set(WebhookEndpoint.objects.exclude(failing_since=None)) == {endpoints["Acme", False]}
    WebhookEndpoint.objects.update(failing_since=F("created_at"))
    first.refresh_from_db()
    webhook_delivery._record_result(first, SendResult(status=204))
    assert WebhookEndpoint.objects.filter(failing_since=None).get() == endpoints["Acme", False]

    assert WebhookDelivery.objects.values().get(pk=second.pk) == other
    WebhookEndpoint.objects.filter(tenant__name="Neighbour").update(failing_since=None)


def test_an_endpoint_that_is_gone_is_disabled_alone(alice, endpoints) -> None:
    create(alice)
    everybody_hands_out()
    delivery = WebhookDelivery.objects.get(endpoint=endpoints["Acme", False])

    webhook_delivery._record_result(delivery, SendResult(status=410))

    assert WebhookEndpoint.objects.exclude(disabled_at=None).get() == endpoints["Acme", False]
    event = WebhookEvent.objects.get(type=EventType.ENDPOINT_DISABLED)
    assert (event.tenant, event.is_test) == (alice.tenant, False)


def test_a_claim_counts_one_try_of_one_delivery(alice, endpoints) -> None:
    create(alice), create(alice)
    everybody_hands_out()
    taken = webhook_delivery._claim([])

    assert taken is not None and taken.tries == 1
    tries = WebhookDelivery.objects.filter(endpoint=endpoints["Acme", False]).values_list("tries", flat=True)
    assert sorted(tries) == [0, 1]


def test_news_of_progress_thresholds_and_keys_are_their_tenants(alice, charlie, endpoints) -> None:
    polled_events.record()
    create(alice)
    claim()
    ApiKey.objects.filter(pk=charlie.key.pk).update(expires_at=Now() + timedelta(days=1))
    polled_events.record()
    everybody_hands_out()

    told = WebhookDelivery.objects.filter(endpoint__in=endpoints.values())
    kinds = set(told.values_list("endpoint__tenant__name", "endpoint__is_test", "event__type"))
    assert kinds == {
        ("Acme", False, "project.queued"),
        ("Acme", False, "project.processing"),
        ("Acme", False, "project.progress"),
        ("Other", False, "api_key.expiring"),
    }


def test_retention_takes_what_is_over_of_whom_it_is_over(alice) -> None:
    """The neighbour's plan keeps films for a hundred years, and all of its rows are new."""
    old = latest_render(finished_project(alice)["id"])
    Segment.objects.filter(render=old).update(created_at=F("created_at") - timedelta(days=31))
    Render.objects.filter(pk=old.pk).update(completed_at=F("completed_at") - timedelta(days=31))

    retention.run()

    old.refresh_from_db()
    assert old.films_deleted_at is not None and old.work_deleted_at is not None


def test_the_same_idempotency_key_of_two_tenants_is_two_keys(alice, charlie) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"title": "x", "image_url": "https://example.com/a.png", "audio_url": "https://example.com/b.wav"}
    first = alice.post(PROJECTS, body, format="json", headers=headers)
    second = charlie.post(PROJECTS, body, format="json", headers=headers)
    assert first.json()["id"] != second.json()["id"]
    mine = IdempotentResponse.objects.get(tenant=alice.tenant)
    IdempotentResponse.objects.filter(pk=mine.pk).update(created_at=Now() - idempotency.KEPT - timedelta(days=1))

    again = alice.post(PROJECTS, {**body, "title": "y"}, format="json", headers=headers)

    assert "Idempotency-Replayed" not in again
    assert IdempotentResponse.objects.get(tenant=alice.tenant).body["id"] == again.json()["id"]
    assert IdempotentResponse.objects.get(tenant=charlie.tenant).body["id"] == second.json()["id"]
    assert charlie.post(PROJECTS, body, format="json", headers=headers)["Idempotency-Replayed"] == "true"
