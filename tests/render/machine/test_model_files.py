"""Nodes that lack files of the model: each renders what it can load, and a render fails only where no node can."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from accounts.errors import PROBLEM_TYPES
from accounts.models import Plan, UsageEntry
from render import node_faults, tasks
from render.admin.nodes import NodeAdmin
from render.engines.base import EngineStatus, FrameRange, RenderPlan
from render.engines.infinitetalk import _variant
from render.lifecycle import reaper, transitions
from render.machine import nodes
from render.models import Attempt, Node, Phase, Render, State
from render.node_faults import NodeFault
from render.parameters import Parameters
from render.pipeline import local_inputs, runner
from render.queue import selection
from tests.engines import InstantEngine

WHY = "There is no file /data/weights/loras/fast.safetensors."
BAD = {"1-fast": WHY, "1-fast-scaled": WHY}
LONG = 900  # seconds
CROP = (1, 2, 30, 40)


@pytest.fixture
def waiting(enqueue):
    """A render that waits for a GPU and needs a variant of the model."""

    def make(variant: str = "1-fast", **changes) -> Render:
        render = enqueue()
        changes = {"queue": "gpu", "phase": Phase.WAITING, "sources": {}, "variant": variant, **changes}
        Render.objects.filter(pk=render.pk).update(**changes)
        render.refresh_from_db()
        return render

    return make


def say(node: Node, unloadable: dict[str, str] | None = None, state: str = "ready") -> None:
    status = EngineStatus(state == "ready", model_state=state, unloadable=unloadable or {})
    nodes.record_model(node, {"infinitetalk": status})


def wait(seconds: float, **of) -> None:
    """As if what the nodes say of their files were older by so much."""
    for node in Node.objects.filter(**of):
        node.unloadable_since = {name: moment - seconds for name, moment in node.unloadable_since.items()}
        node.save()


@pytest.fixture
def node(settings, db):
    def beat(name: str, unloadable: dict[str, str] | None = None, **changes) -> Node:
        settings.NODE_NAME = name
        node = nodes.heartbeat("gpu")
        say(node, unloadable)
        Node.objects.filter(pk=node.pk).update(**changes)
        return nodes.heartbeat("gpu") if "heartbeat_at" not in changes else node

    return beat


@pytest.mark.parametrize(
    ("given", "speakers", "variant"),
    [
        ({}, 1, "1-standard"),
        ({"preset": "standard"}, 2, "2-standard"),
        ({"preset": "fast"}, 1, "1-fast"),
        ({"preset": "fast", "lora_scale": 0.5}, 1, "1-fast-scaled"),
        ({"preset": "fast", "lora_scale": 0}, 1, "1-none"),
        ({"preset": "quality"}, 2, "2-none"),
        ({"preset": "quality", "lora_scale": 1}, 1, "1-standard"),
    ],
)
def test_parameters_want_a_variant(given, speakers, variant) -> None:
    assert _variant(Parameters.resolve({"seed": 1, **given}), speakers) == variant


@pytest.mark.django_db
def test_a_node_leaves_what_it_cannot_load_to_others(waiting, node) -> None:
    Plan.objects.update(max_concurrent=9)
    fast, fast_for_two, standard = waiting(), waiting("2-fast"), waiting("1-standard")

    bad = node("bad", BAD)
    claimed = [transitions.claim_next("gpu", bad).render_id for _ in range(2)]
    assert claimed == [fast_for_two.pk, standard.pk]
    assert transitions.claim_next("gpu", bad) is None
    assert transitions.claim_next("gpu", node("good")).render_id == fast.pk


@pytest.mark.django_db
def test_what_says_nothing_is_taken_and_can_take_all(waiting, node) -> None:
    prepared_before = waiting("")
    assert transitions.claim_next("gpu", node("bad", BAD)).render_id == prepared_before.pk

    fast = waiting()
    Node.objects.create(name="old", queue="gpu")
    assert transitions.claim_next("gpu", Node.objects.get(name="old")).render_id == fast.pk


@pytest.mark.django_db
@pytest.mark.parametrize("phase", [Phase.ASSEMBLING, Phase.UPLOADING])
def test_what_is_rendered_already_needs_no_model(waiting, node, phase) -> None:
    render = waiting(phase=phase)
    bad = node("bad", BAD)

    reaper.run()

    assert transitions.claim_next("gpu", bad).render_id == render.pk


@pytest.mark.django_db
def test_a_claim_costs_no_query_more(waiting, node) -> None:
    waiting("1-standard"), waiting("1-standard")
    costs = []
    for worker in (node("good"), node("bad", BAD)):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert transitions.claim_next("gpu", worker)
        costs.append(len(queries))

    assert costs[0] == costs[1]


@pytest.mark.django_db
def test_a_ticket_that_the_wrong_node_took_is_there_again_for_the_right_one(waiting, node, monkeypatch) -> None:
    render = waiting()
    node("bad")
    status = EngineStatus(True, model_state="ready", unloadable=BAD)
    monkeypatch.setattr(tasks.registry, "statuses", lambda queue: {"infinitetalk": status})
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: None))
    OrmQ.objects.all().delete()

    tasks.run_ticket("gpu")

    render.refresh_from_db()
    assert (render.state, render.attempt) == (State.QUEUED, 0)
    assert OrmQ.objects.filter(key="gpu").count() == 1
    assert Node.objects.get(name="bad").unloadable == BAD


@pytest.mark.django_db
def test_a_render_that_no_living_node_can_load_fails(waiting, node, acme) -> None:
    fast, standard = waiting(), waiting("1-standard")
    node("a", BAD), node("b", {**BAD, "1-standard": "It is empty."})
    wait(LONG)

    reaper.run()

    fast.refresh_from_db(), standard.refresh_from_db()
    assert (fast.state, fast.error_code) == (State.FAILED, "model_file_missing")
    assert not PROBLEM_TYPES["model_file_missing"].retryable
    # The customer is told no file name, the staff is.
    assert "/data" not in fast.error_message
    assert fast.error_trace == f"a: {WHY}\nb: {WHY}"
    assert UsageEntry.objects.get(render_id=fast.pk).billed_seconds == 0
    assert standard.state == State.QUEUED


@pytest.mark.django_db
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"draining": True},  # It may be undrained.
        {"fault": "No space left on device", "fault_since": timezone.now()},  # That may pass.
    ],
)
def test_it_waits_while_a_living_node_could_load_it(waiting, node, other) -> None:
    render = waiting()
    node("bad", BAD), node("good", **other)
    wait(LONG)

    reaper.run()

    render.refresh_from_db()
    assert render.state == State.QUEUED


@pytest.mark.django_db
def test_a_node_that_is_gone_does_not_count(waiting, node) -> None:
    render = waiting()
    node("gone", heartbeat_at=timezone.now() - timedelta(hours=1))
    reaper.run()
    render.refresh_from_db()
    assert render.state == State.QUEUED  # No node at all: one may come.

    node("bad", BAD)
    wait(LONG)
    reaper.run()
    render.refresh_from_db()
    assert render.error_code == "model_file_missing"


@pytest.mark.django_db
def test_a_folder_of_weights_that_is_away_for_a_moment_ends_nothing(waiting, node) -> None:
    """However long the render has waited, and however long another machine has been without the files."""
    render = waiting(created_at=timezone.now() - timedelta(hours=5))
    node("a", BAD), node("b", BAD)
    wait(LONG, name="a"), wait(LONG - 60, name="b")

    reaper.run()
    render.refresh_from_db()
    assert render.state == State.QUEUED

    wait(60, name="b")
    reaper.run()
    render.refresh_from_db()
    assert render.error_code == "model_file_missing"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("said", "is_same_fault"),
    [
        ([("down", {}), ("loading", {}), ("loading", BAD)], True),  # A restart mends nothing.
        ([("ready", {**BAD, "2-none": "It is empty."})], True),
        ([("ready", {})], False),
        ([("busy", {"2-none": "It is empty."})], False),
    ],
)
def test_since_when_files_are_bad_outlives_a_restart_and_ends_when_they_are_good(
    waiting, node, said, is_same_fault
) -> None:
    render, worker = waiting(), node("bad", BAD)
    wait(LONG)
    worker = nodes.heartbeat("gpu")

    for state, unloadable in said:
        say(worker, unloadable, state)
        worker = nodes.heartbeat("gpu")
    say(worker, BAD)
    reaper.run()

    render.refresh_from_db()
    assert (render.state == State.FAILED) == is_same_fault


@pytest.mark.django_db
def test_a_file_put_back_is_used_again(waiting, node) -> None:
    render = waiting()
    node("bad", BAD)

    assert transitions.claim_next("gpu", node("bad")).render_id == render.pk


@pytest.mark.django_db
def test_of_a_server_that_does_not_answer_nothing_is_known(waiting, node) -> None:
    render, worker = waiting(), node("bad", BAD)

    nodes.record_model(worker, {"infinitetalk": EngineStatus(False, model_state="down")})
    reaper.run()

    render.refresh_from_db()
    assert (render.state, Node.objects.get(name="bad").unloadable) == (State.QUEUED, {})


@pytest.mark.django_db
def test_a_render_that_is_claimed_meanwhile_is_not_ended(waiting, node) -> None:
    render = waiting()
    transitions.claim_next("gpu", node("good"))

    transitions.fail_waiting(render, transitions.canceled(), trace="")

    render.refresh_from_db()
    assert render.state == State.RUNNING


def test_a_file_that_is_bad_when_the_render_begins_is_no_failure_of_it_and_the_node_goes_on(
    enqueue, claim, monkeypatch
) -> None:
    """Also of a render that was prepared before its variant was written down."""

    def no_file(self, *given):
        raise NodeFault(f"The model server: {WHY}", variant="1-fast")
        yield

    monkeypatch.setattr(InstantEngine, "segments", no_file)
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    worker = Node.objects.get(queue="cpu")
    assert (render.state, render.failures, render.crashes, render.variant) == (State.QUEUED, 0, 0, "1-fast")
    assert render.attempts.get().outcome == Attempt.Outcome.NODE_FAULT
    assert WHY in render.error_trace
    assert (worker.fault, worker.rests_until) == ("", None)
    assert selection.claimable("cpu").get() == render


def test_what_is_prepared_knows_its_variant_and_its_plan_is_as_older_nodes_read_it(enqueue, claim, monkeypatch) -> None:
    original = InstantEngine.plan
    monkeypatch.setattr(
        InstantEngine, "plan", lambda self, *given: replace(original(self, *given), variant="1-fast", crop=CROP)
    )
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.variant) == (State.FINISHED, "1-fast")
    assert render.plan.keys() == {"width", "height", "num_frames", "segments"}
    assert local_inputs.plan_of(render).crop == CROP


@pytest.mark.django_db
@pytest.mark.parametrize("of_newer_version", [{"tempo": 2}, {"crop": None}])
def test_a_plan_of_a_newer_version_is_read_without_what_this_one_does_not_know(enqueue, of_newer_version) -> None:
    render = enqueue()
    span = {"start": 0, "stop": 25, "scene": 1}
    render.plan = {"width": 64, "height": 48, "num_frames": 25, "segments": [span], **of_newer_version}

    assert local_inputs.plan_of(render) == RenderPlan(64, 48, 25, (FrameRange(0, 25),))
    render.sources = {"crop": list(CROP)}
    assert local_inputs.plan_of(render).crop == CROP


@pytest.mark.django_db
def test_the_fault_keeps_its_variant(node) -> None:
    with pytest.raises(NodeFault) as caught, node_faults.as_node_faults():
        raise NodeFault(WHY, variant="1-fast")

    assert caught.value.variant == "1-fast"


@pytest.mark.django_db
def test_staff_sees_which_file_is_bad_and_for_what(node, client, django_user_model) -> None:
    bad = node("bad", {**BAD, "2-none": "multi.safetensors is empty."})
    admin = NodeAdmin(Node, None)

    assert admin.work(bad) == "takes renders, but not 1-fast, 1-fast-scaled, 2-none"
    assert admin.bad_files(bad) == f"{WHY} (1-fast, 1-fast-scaled)\nmulti.safetensors is empty. (2-none)"
    client.force_login(django_user_model.objects.create_superuser("root", password="x"))
    assert WHY in client.get(f"/admin/render/node/{bad.pk}/change/").text
    assert WHY in client.get("/admin/operations/").text
