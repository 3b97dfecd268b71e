import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from accounts.errors import ServiceError
from accounts.models import Plan, Tenant
from render import tasks
from render.engines.base import EngineStatus
from render.lifecycle import progress, reaper, transitions
from render.machine import nodes
from render.models import Node, Render, State
from render.queue import tickets
from tests.engines import StatefulEngine


@pytest.mark.django_db
def test_the_oldest_render_comes_first(enqueue, claim) -> None:
    first, second = enqueue(), enqueue()

    assert [claim().render_id, claim().render_id] == [first.pk, second.pk]


@pytest.mark.django_db
def test_a_tenant_with_nothing_running_goes_before_one_that_has(enqueue, claim, charlie) -> None:
    enqueue(), enqueue()
    strangers = enqueue(tenant=charlie.tenant)

    claim()

    assert claim().render_id == strangers.pk


@pytest.mark.django_db
def test_a_heavier_plan_gets_its_share(enqueue, claim) -> None:
    heavy = Tenant.objects.create(name="Heavy", plan=Plan.objects.create(name="Heavy", weight=3, max_concurrent=9))
    for _ in range(4):
        enqueue()
        enqueue(tenant=heavy)

    takers = [Render.objects.get(pk=claim().render_id).tenant.name for _ in range(4)]

    assert sorted(takers) == ["Acme", "Heavy", "Heavy", "Heavy"]


@pytest.mark.django_db
def test_the_plans_limit_of_concurrent_renders_holds(enqueue, claim) -> None:
    for _ in range(3):
        enqueue()

    assert [bool(claim()) for _ in range(3)] == [True, True, False]


@pytest.mark.django_db
def test_what_a_suspended_tenant_has_queued_is_rendered_all_the_same(enqueue, claim, acme) -> None:
    """As docs/accounts.md says: suspension closes the access and stops no accepted work."""
    render = enqueue()
    Tenant.objects.filter(pk=acme.pk).update(suspended_at=timezone.now())

    assert claim().render_id == render.pk


@pytest.mark.django_db
def test_a_draining_node_claims_nothing(enqueue, claim) -> None:
    enqueue()
    Node.objects.filter(pk=nodes.heartbeat("cpu").pk).update(draining=True)

    assert claim() is None


@pytest.mark.django_db
def test_a_render_whose_engine_is_away_is_left_to_others(enqueue) -> None:
    enqueue(engine="slow")
    other = enqueue()

    claimed = transitions.claim_next("cpu", nodes.heartbeat("cpu"), without_engines=["slow"])

    assert claimed.render_id == other.pk
    assert transitions.claim_next("cpu", nodes.heartbeat("cpu"), without_engines=["slow"]) is None


def test_a_worker_waits_for_an_engine_that_starts(enqueue, monkeypatch) -> None:
    answers = [False, False, True]
    monkeypatch.setattr(tasks.registry, "statuses", lambda queue: {"stateful": EngineStatus(answers.pop(0))})
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))
    render = enqueue(engine="stateful")
    Render.objects.update(queue="gpu")

    tasks.run_ticket("gpu")

    render.refresh_from_db()
    assert (answers, render.attempt) == ([], 1)


def test_a_worker_does_not_wait_for_an_engine_that_nobody_wants(db, monkeypatch) -> None:
    monkeypatch.setattr(StatefulEngine, "status", lambda self: EngineStatus(available=False))

    tasks.run_ticket("gpu")

    assert Node.objects.get(queue="gpu").model_state == ""


def test_a_nodes_row_says_what_its_model_server_says(db) -> None:
    node = nodes.heartbeat("gpu")
    nodes.record_model(node, {"x": EngineStatus(True, model_state="ready", gpu="NVIDIA L40S", memory_plan="fp8")})
    nodes.record_model(node, {"x": EngineStatus(False, model_state="down")})

    node = Node.objects.get(queue="gpu")
    assert (node.model_state, node.gpu, node.memory_plan) == ("down", "NVIDIA L40S", "fp8")


def test_a_full_queue_refuses_and_holds_nothing(enqueue, acme) -> None:
    acme.plan.max_queued = 1
    enqueue()

    with pytest.raises(ServiceError) as caught:
        enqueue()

    assert caught.value.code == "queue_full"
    assert acme.usage.count() == 1


@pytest.mark.django_db
def test_a_new_render_comes_with_a_ticket(enqueue) -> None:
    enqueue()

    assert OrmQ.objects.filter(key="cpu").count() == 1


@pytest.mark.django_db
def test_lost_tickets_are_topped_up_once(enqueue) -> None:
    for _ in range(3):
        enqueue()
    OrmQ.objects.all().delete()

    reaper.run()
    reaper.run()

    assert OrmQ.objects.filter(key="cpu").count() == 3


@pytest.mark.django_db
def test_a_ticket_too_many_does_no_harm(enqueue, claim) -> None:
    render = enqueue()
    tickets.add_ticket("cpu")

    assert claim().render_id == render.pk
    assert claim() is None


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_get_different_renders_and_keep_the_limit(enqueue) -> None:
    Plan.objects.update(max_concurrent=5)
    for _ in range(12):
        enqueue()
    node = nodes.heartbeat("cpu")

    def take(_: int):
        try:
            return transitions.claim_next("cpu", node)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(take, range(12)) if claim]

    assert len({claim.render_id for claim in claims}) == len(claims) == 5
    assert Render.objects.filter(state=State.RUNNING).count() == 5


@pytest.mark.django_db
def test_a_tenant_s_preparations_leave_a_worker_of_each_node_free(enqueue, claim, charlie, settings) -> None:
    settings.CPU_WORKERS = 2
    first, second = enqueue(), enqueue()
    strangers = enqueue(tenant=charlie.tenant)

    claimed = claim()
    assert (claimed.render_id, claim().render_id, claim()) == (first.pk, strangers.pk, None)
    OrmQ.objects.all().delete()
    progress.prepared(claimed, sources={}, plan={}, num_frames=25, segments_total=1)

    assert OrmQ.objects.filter(key="cpu").count() == 1  # for the worker that has found nothing
    assert claim().render_id == second.pk


@pytest.mark.django_db
def test_another_node_prepares_for_the_same_tenant(enqueue, claim, settings) -> None:
    settings.CPU_WORKERS = 2
    enqueue(), enqueue()
    claim()

    assert claim() is None
    settings.NODE_NAME = "another"
    assert claim() is not None


@pytest.mark.django_db
@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 1), (4, 3)])
def test_so_many_are_prepared_at_once(workers: int, at_once: int, enqueue, claim, settings, acme) -> None:
    settings.CPU_WORKERS = workers
    Plan.objects.update(max_concurrent=9)
    acme.plan.refresh_from_db()
    for _ in range(5):
        enqueue()

    assert sum(claim() is not None for _ in range(5)) == at_once


@pytest.mark.django_db
def test_what_is_prepared_does_not_wait_for_a_preparation(enqueue, claim, settings) -> None:
    settings.CPU_WORKERS = 2
    prepared, _ = enqueue(), enqueue()
    lifecycle_claim = claim()
    progress.prepared(lifecycle_claim, sources={}, plan={}, num_frames=25, segments_total=1)
    claim()
    transitions.hand_back(lifecycle_claim)

    assert claim().render_id == prepared.pk


@pytest.mark.django_db
def test_tenants_take_turns_when_a_single_worker_is_free(enqueue, claim, charlie) -> None:
    """Nothing runs when it claims, so what each has running does not tell whose turn it is."""
    for _ in range(3):
        enqueue()
    for _ in range(2):
        enqueue(tenant=charlie.tenant)

    turns = []
    for _ in range(5):
        claimed = claim()
        turns.append(Render.objects.get(pk=claimed.render_id).tenant.name)
        Render.objects.filter(pk=claimed.render_id).update(started_at=timezone.now())  # Not the transaction's one time.
        transitions.fail(claimed, ServiceError("image_invalid", "x"))

    assert turns == ["Acme", "Other", "Acme", "Other", "Acme"]
