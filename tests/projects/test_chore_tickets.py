"""However many uploads, deletions and messages wait: few tickets do, renders get their turn, and no wake-up is lost."""

import pydoc
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage

from accounts.errors import ServiceError
from accounts.models import Tenant
from creatorify.operations.dashboard import queue_depths
from projects import tasks
from projects.assets import claims as asset_claims
from projects.assets import discards, verification
from projects.enqueue import enqueue_task
from projects.models import Asset, Deletion, DiscardedObject
from projects.retention import project_deletion
from projects.webhooks import outbox
from render.cluster import broker as brokers
from render.cluster.broker import PatientBroker
from render.fence import Claim
from render.lifecycle import progress, transitions
from render.machine import nodes
from render.models import Render, State
from render.queue import tickets
from tests.projects.steps import NO_SOURCES, claim, create
from tests.two_connections import another_transaction, never_waiting

pytestmark = pytest.mark.django_db

CHECK, DELETE, TELL = (f"projects.tasks.{name}" for name in ("tend_assets", "delete_media", "deliver_webhooks"))
RENDER = tickets.RUN_TICKET
UPLOADS = 300


def try_claim() -> Claim | None:
    return transitions.claim_next("cpu", nodes.heartbeat("cpu"))


class Queue:
    """A queue's broker, and workers who do what is due; but each render fails."""

    def __init__(self) -> None:
        self.broker = PatientBroker("cpu")
        self.at_work: list[tuple[int, str]] = []

    def take(self) -> str | None:
        """Give the next ticket to a worker, who begins."""
        taken = self.broker.dequeue()
        if taken is None:
            return None
        [(ticket, payload)] = taken
        self.at_work.append((ticket, SignedPackage.loads(payload)["func"]))
        return self.at_work[-1][1]

    def end(self, name: str | None = None) -> None:
        """The worker who began last, or with that, is ready."""
        for ticket, begun in reversed(self.at_work):
            if name in (None, begun):
                if begun != RENDER:
                    pydoc.locate(begun)()
                elif claimed := try_claim():
                    transitions.fail(claimed, ServiceError("image_invalid", "x"))
                self.broker.acknowledge(ticket)
                self.at_work.remove((ticket, begun))
                return

    def serve(self) -> str | None:
        taken = self.take()
        if taken is not None:
            self.end()
        return taken


@pytest.fixture
def cpu(monkeypatch) -> Queue:
    monkeypatch.setattr(Conf, "POLL", 0.001)
    return Queue()


@pytest.fixture
def quick(monkeypatch) -> None:
    """Each slice of a chore is one step long, and each check ends at once: the file cannot be used."""

    def refuse(*arguments: object) -> None:
        raise ServiceError("media_invalid", "x")

    monkeypatch.setattr(tasks, "SECONDS_AT_ONCE", -1)
    monkeypatch.setattr(verification, "_check", refuse)


def waiting(kind: str = "") -> Counter[str]:
    return Counter(ticket.func() for ticket in OrmQ.objects.all() if kind in ticket.func())


def arrive(tenant: Tenant, number: int = 1) -> None:
    """Each rings for itself, as it does when it is sent; of many, the first ones."""
    now = timezone.now()
    facts = {"filename": "a.wav", "content_type": "audio/wav", "num_bytes": 1, "uploaded_at": now, "check_after": now}
    Asset.objects.bulk_create(
        Asset(tenant=tenant, **facts, key=f"{tenant.pk}/uploads/{index}.wav") for index in range(number)
    )
    for _ in range(min(number, 20)):
        asset_claims.enqueue()


def test_a_render_waits_for_one_chore_however_many_uploads_wait(alice, acme, bob, charlie, cpu, quick) -> None:
    """On an installation with one worker."""
    arrive(acme, UPLOADS)
    arrive(charlie.tenant, UPLOADS)
    assert waiting() == {CHECK: 1}
    assert [cpu.serve() for _ in range(4)] == [CHECK] * 4
    assert Asset.objects.filter(state=Asset.State.ERRORED).count() == 4

    stranger = type(alice)(Tenant.objects.create(name="Third", plan=acme.plan), "third")
    create(stranger)

    served = [cpu.serve() for _ in range(6)]
    assert served.index(RENDER) <= 1
    assert waiting(CHECK) == {CHECK: 1} and waiting(DELETE).total() <= 1


def test_renders_and_chores_take_turns(alice, charlie, cpu, quick) -> None:
    for _ in range(3):
        create(alice)
    arrive(charlie.tenant, 5)

    assert [cpu.serve() for _ in range(8)] == [CHECK, RENDER] * 3 + [CHECK, CHECK]


def test_while_one_worker_does_a_chore_the_others_go_to_renders_first(alice, acme, charlie, cpu, quick) -> None:
    arrive(acme, 5)
    arrive(charlie.tenant, 5)
    assert cpu.take() == CHECK
    asset_claims.enqueue()
    for _ in range(2):
        create(alice)

    assert [cpu.take(), cpu.take()] == [RENDER, RENDER]
    assert cpu.take() == CHECK  # No render waits, so that another tenant's file can be checked meanwhile.
    create(alice)
    create(alice)
    asset_claims.enqueue()
    for _ in range(2):
        cpu.end(CHECK)
    assert [cpu.take(), cpu.take(), cpu.take()] == [RENDER, CHECK, RENDER]


def test_a_chore_whose_end_was_not_noted_keeps_renders_first_for_a_while_only(alice, acme, cpu, monkeypatch) -> None:
    arrive(acme)
    assert cpu.take() == CHECK
    create(alice), create(alice), create(alice)
    asset_claims.enqueue()
    assert [cpu.serve(), cpu.serve()] == [RENDER, RENDER]

    monkeypatch.setattr(brokers, "CHORE_SECONDS", 0)

    assert cpu.take() == CHECK


def test_who_checks_calls_another_worker_when_another_tenant_waits(acme, charlie, cpu, monkeypatch) -> None:
    monkeypatch.setattr(tasks, "SECONDS_AT_ONCE", -1)
    rung = []

    def refuse(*arguments: object) -> None:
        rung.append(waiting(CHECK).total() - len(cpu.at_work))
        raise ServiceError("media_invalid", "x")

    monkeypatch.setattr(verification, "_check", refuse)
    arrive(acme, 2)
    arrive(charlie.tenant)

    for _ in range(3):
        cpu.serve()

    assert rung == [1, 1, 0]


def test_few_tickets_wait_of_each_chore_while_nobody_takes_one(alice, acme, neighbour) -> None:
    OrmQ.objects.all().delete()
    for _ in range(5):
        arrive(acme)
        project = create(alice)
        alice.delete(project["urls"]["self"])
        outbox.enqueue()
        discards.enqueue()
        enqueue_task("keep_retention")

    assert waiting("projects.tasks") == dict.fromkeys([CHECK, DELETE, TELL, "projects.tasks.keep_retention"], 1)
    assert Deletion.objects.filter(tenant=acme).count() == 5


def test_the_reaper_adds_no_ticket_where_one_waits(acme, charlie) -> None:
    DiscardedObject.objects.create(key=f"{charlie.tenant.pk}/uploads/x")
    arrive(acme)
    Asset.objects.update(check_after=timezone.now() - 2 * asset_claims.OVERDUE)

    for _ in range(3):
        project_deletion.enqueue_if_due()
        asset_claims.enqueue_if_due()

    assert waiting() == {CHECK: 1, DELETE: 1}


def test_what_a_worker_died_over_is_rung_for_in_the_reapers_next_round(acme, cpu) -> None:
    arrive(acme)
    assert cpu.take() == CHECK  # And dies.
    Asset.objects.update(check_after=timezone.now() - 2 * asset_claims.OVERDUE)

    asset_claims.enqueue_if_due()

    assert cpu.take() == CHECK


def test_only_tickets_of_renders_count_where_those_are_topped_up(alice, acme) -> None:
    for _ in range(3):
        create(alice)
    OrmQ.objects.all().delete()
    arrive(acme)
    discards.enqueue()
    outbox.enqueue()

    assert tickets.top_up("cpu") == 3
    assert tickets.top_up("cpu") == 0
    assert waiting(RENDER) == {RENDER: 3}
    assert [(depth.name, depth.tickets) for depth in queue_depths()] == [("cpu", 3)]


def test_no_more_are_counted_than_get_a_ticket(alice, monkeypatch, django_assert_num_queries) -> None:
    monkeypatch.setattr(tickets, "MAX_READY_TICKETS", 2)
    for _ in range(4):
        create(alice)
    OrmQ.objects.all().delete()
    for _ in range(3):
        tickets.top_up("cpu")

    assert waiting(RENDER) == {RENDER: 2}
    with django_assert_num_queries(2) as asked:
        tickets.top_up("cpu")
    assert all("LIMIT 2" in query["sql"] for query in asked)


def test_what_a_schedule_rings_for_is_a_chore_too(alice, monkeypatch) -> None:
    monkeypatch.setattr("django_q.scheduler.close_old_django_connections", lambda: None)  # Not the test's.
    create(alice)
    OrmQ.objects.all().delete()
    Schedule.objects.update_or_create(name="reaper", defaults={"func": "render.tasks.run_reaper", "cluster": "cpu"})
    for _ in range(3):
        Schedule.objects.filter(name="reaper").update(next_run=timezone.now() - timedelta(hours=1))
        scheduler(PatientBroker("cpu"))

    assert waiting("run_reaper") == {"render.tasks.run_reaper": 1}
    assert tickets.top_up("cpu") == 1


def test_each_step_of_a_chore_goes_on_until_it_has_nothing_to_do(monkeypatch) -> None:
    left = {"a": 3, "b": 1, "c": 0}
    done = []

    def step(name: str) -> bool:
        done.append(name)
        left[name] -= 1
        return left[name] >= 0

    tasks._work_off("delete_media", *(lambda name=name: step(name) for name in left))

    assert "".join(done) == "abcabaa"
    assert waiting() == {}
    left["a"] = 2
    monkeypatch.setattr(tasks, "SECONDS_AT_ONCE", -1)
    tasks._work_off("delete_media", lambda: step("a"))
    assert (left["a"], waiting()) == (1, {DELETE: 1})


# What is rung for in a transaction.


@pytest.mark.django_db(transaction=True)
def test_the_ticket_that_waits_is_taken_by_nobody_until_what_it_is_for_is_there(acme, cpu) -> None:
    asset_claims.enqueue()
    with another_transaction() as other:
        other.execute("SELECT 1")
        with transaction.atomic():
            arrive(acme)
            # Of the workers, on a connection of their own: what they would do with it.
            free = "SELECT count(*) FROM (SELECT FROM django_q_ormq FOR NO KEY UPDATE SKIP LOCKED) AS free"
            assert other.execute(free).fetchone() == (0,)
            other.rollback()
        assert other.execute(free).fetchone() == (1,)
        other.rollback()

    assert cpu.take() == CHECK
    assert waiting() == {CHECK: 1}


@pytest.mark.django_db(transaction=True)
def test_two_who_ring_at_once_do_not_wait_for_each_other(acme, cpu) -> None:
    asset_claims.enqueue()
    with another_transaction() as other, never_waiting():
        other.execute("SELECT FROM django_q_ormq FOR NO KEY UPDATE")  # Another one, who has not committed yet.

        asset_claims.enqueue()
        assert waiting() == {CHECK: 2}
        asset_claims.enqueue()
        assert waiting() == {CHECK: 2}
        assert cpu.take() == CHECK  # The one that is free.
        assert cpu.take() is None
        other.rollback()

    assert [cpu.take(), cpu.take()] == [CHECK, None]


@pytest.mark.django_db(transaction=True)
def test_what_was_not_committed_leaves_no_ticket_and_takes_none(acme, cpu) -> None:
    for before in (0, 1):
        with pytest.raises(RuntimeError), transaction.atomic():
            arrive(acme)
            raise RuntimeError
        assert waiting().total() == before
        asset_claims.enqueue()
    assert cpu.take() == CHECK


def test_a_ticket_that_was_taken_is_none_that_waits(acme, cpu) -> None:
    arrive(acme)
    assert cpu.take() == CHECK

    arrive(acme)

    assert cpu.take() == CHECK


# A tenant's files hold no more than all workers of a node but one, be it in checks or in preparations.


@pytest.fixture
def two_workers(settings) -> None:
    settings.CPU_WORKERS = 2


def during_a_check(monkeypatch, act: Callable[[], None]) -> None:
    def refuse(*arguments: object) -> None:
        act()
        raise ServiceError("media_invalid", "x")

    with monkeypatch.context() as patch:
        patch.setattr(verification, "_check", refuse)
        assert verification.check_next()


def preparing() -> list[Tenant]:
    return [
        render.tenant
        for render in Render.objects.filter(state=State.RUNNING, sources__isnull=True).order_by("started_at")
    ]


def test_while_its_file_is_checked_a_tenant_gets_no_second_worker_of_the_node(
    alice, charlie, two_workers, monkeypatch, settings
) -> None:
    create(alice), create(alice)
    create(charlie)
    arrive(alice.tenant)

    def claim_renders() -> None:
        assert try_claim() is not None and try_claim() is None
        assert preparing() == [charlie.tenant]
        settings.NODE_NAME = "another"
        assert try_claim() is not None
        assert preparing() == [charlie.tenant, alice.tenant]
        OrmQ.objects.all().delete()

    during_a_check(monkeypatch, claim_renders)

    assert waiting(RENDER) == {RENDER: 1}  # For the worker that has found nothing.
    settings.NODE_NAME = "the first again"
    assert try_claim() is not None


@pytest.mark.parametrize(
    "end",
    [
        lambda claimed: progress.prepared(claimed, sources=NO_SOURCES, plan={}, num_frames=25, segments_total=1),
        lambda claimed: transitions.fail(claimed, ServiceError("image_invalid", "x")),
        transitions.hand_back,
    ],
    ids=["prepared", "failed", "handed back"],
)
def test_while_its_render_is_prepared_a_tenants_files_are_checked_on_other_nodes_only(
    alice, charlie, two_workers, monkeypatch, settings, end
) -> None:
    create(alice)
    claimed = claim()
    arrive(alice.tenant, 2)
    settings.NODE_NAME, here = "another", settings.NODE_NAME
    during_a_check(monkeypatch, lambda: None)
    settings.NODE_NAME = here
    assert not verification.check_next()
    arrive(charlie.tenant)
    during_a_check(monkeypatch, lambda: None)
    assert Asset.objects.filter(tenant=charlie.tenant, state=Asset.State.ERRORED).exists()
    OrmQ.objects.all().delete()

    end(claimed)

    assert waiting(CHECK) == {CHECK: 1}
    during_a_check(monkeypatch, lambda: None)


def test_a_node_with_one_worker_does_both_one_after_the_other(alice, monkeypatch, settings) -> None:
    settings.CPU_WORKERS = 1
    create(alice)
    arrive(alice.tenant)

    during_a_check(monkeypatch, lambda: None)
    assert try_claim() is not None
