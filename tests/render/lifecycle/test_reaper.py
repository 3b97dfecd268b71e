"""The reaper's clock, what it swallows, and what it sends on."""

import os
import signal
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ

from render.lifecycle import reaper, retries, transitions
from render.models import ReaperClock, Render
from render.queue import tickets as queue
from render.signals import housekeeping

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]

LEASE, INTERVAL = (timedelta(seconds=30), timedelta(seconds=10))


@pytest.fixture(autouse=True)
def times(settings) -> None:
    settings.RENDER_LEASE_SECONDS = LEASE.total_seconds()
    settings.REAPER_INTERVAL_SECONDS = INTERVAL.total_seconds()


def tickets() -> list[str]:
    """The queues of the tickets for renders; other tasks have tickets of theirs."""
    return sorted(ticket.key for ticket in OrmQ.objects.all() if ticket.func() == "render.tasks.run_ticket")


@pytest.fixture
def dead(enqueue, claim) -> Render:
    """A render whose lease has expired, at a time at which the reaper runs as it should."""
    enqueue()
    claimed = claim()
    reaper.run()
    Render.objects.filter(pk=claimed.render_id).update(lease_until=Now() - timedelta(milliseconds=1))
    return Render.objects.get(pk=claimed.render_id)


@pytest.mark.parametrize(("runs", "reaped"), [(0.1, 1), (1.0, 1), (1.9, 1), (2.1, 0), (500, 0)])
def test_after_two_missed_runs_leases_are_left_alone(dead, runs, reaped) -> None:
    ReaperClock.objects.update(last_run_at=Now() - runs * INTERVAL)

    assert reaper.run() == reaped


def test_grace_is_one_leases_time_and_then_over(dead, clock) -> None:
    ReaperClock.objects.update(last_run_at=Now() - timedelta(hours=1))
    clock.set(timezone.now())
    assert reaper.run() == 0
    grace = ReaperClock.objects.get()
    assert grace.grace_until == clock.now + LEASE
    assert grace.last_run_at == clock.now

    clock.advance(LEASE - timedelta(milliseconds=1))
    assert reaper.run() == 0
    clock.advance(timedelta(milliseconds=1))
    assert reaper.run() == 1
    assert ReaperClock.objects.get().grace_until is None


def test_the_run_after_a_grace_reaps_however_late_it_comes(dead, clock) -> None:
    ReaperClock.objects.update(last_run_at=Now() - timedelta(hours=1))
    assert reaper.run() == 0
    clock.advance(timedelta(days=1))

    assert reaper.run() == 1


def test_each_run_is_noted(dead, clock) -> None:
    """Else every run would take itself for the first one after an outage."""
    for _ in range(5):
        clock.advance(INTERVAL)
        reaper.run()
        assert ReaperClock.objects.get().last_run_at == clock.now
        assert ReaperClock.objects.get().grace_until is None


def test_a_lease_is_good_until_it_ends(dead, clock) -> None:
    end = timezone.now() + timedelta(seconds=5)
    Render.objects.filter(pk=dead.pk).update(lease_until=end)
    clock.set(end)
    assert reaper.run() == 0
    clock.advance(timedelta(milliseconds=1))
    assert reaper.run() == 1


def test_all_that_have_expired_are_reaped_in_one_run(enqueue, claim, plan) -> None:
    plan.max_concurrent = 10
    plan.save()
    reaper.run()
    claims = [(enqueue(), claim())[1] for _ in range(3)]
    Render.objects.filter(pk__in=[claimed.render_id for claimed in claims]).update(
        lease_until=Now() - timedelta(seconds=1)
    )

    assert reaper.run() == 3
    assert Render.objects.filter(pk__in=[claimed.render_id for claimed in claims], crashes=1).count() == 3


@pytest.fixture
def listeners():
    """Adds receivers of the reaper's housekeeping, for this test."""
    added = []

    def add(receiver) -> None:
        added.append(receiver)
        housekeeping.connect(receiver)

    yield add
    for receiver in added:
        housekeeping.disconnect(receiver)


def test_an_error_of_one_part_is_logged_and_keeps_nothing_from_the_others(dead, listeners, caplog) -> None:
    called = []

    def fail(**_: object) -> None:
        called.append("fails")
        raise ValueError("broken part")

    def work(**_: object) -> None:
        called.append("works")

    listeners(fail)
    listeners(work)

    assert reaper.run() == 1
    assert called == ["fails", "works"]
    # Django logs such an error, too, but by a logger that an operator may have turned off.
    [told] = [
        record for record in caplog.records if record.name == "render.lifecycle.reaper" and record.levelname == "ERROR"
    ]
    assert told.exc_info is not None and str(told.exc_info[1]) == "broken part"


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_an_error_of_the_database_is_the_loops_to_handle(listeners, error) -> None:
    def fail(**_: object) -> None:
        raise error("away")

    listeners(fail)
    with pytest.raises(error, match="away"):
        reaper.run()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_the_loop_goes_on_when_the_database_is_back(settings, monkeypatch, error) -> None:
    settings.REAPER_INTERVAL_SECONDS = 0.0
    runs: list[str] = []

    def run() -> int:
        runs.append("run")
        if len(runs) == 1:
            raise error("away")
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr(reaper, "run", run)
    # It would close the test's own connection.
    monkeypatch.setattr("render.management.commands.reaper.close_old_connections", lambda: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        call_command("reaper")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    assert len(runs) >= 2


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_lost_database_ends_the_run_also_in_the_midst_of_one_render(dead, monkeypatch, error) -> None:
    def reap(render: Render) -> None:
        raise error("away")

    monkeypatch.setattr(retries, "reap", reap)

    with pytest.raises(error, match="away"):
        reaper.run()


def test_nothing_is_logged_as_failed_when_nothing_fails(dead, caplog) -> None:
    reaper.run()

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_each_queue_with_something_waiting_gets_its_tickets(enqueue) -> None:
    enqueue(), enqueue()
    elsewhere = enqueue()
    Render.objects.filter(pk=elsewhere.pk).update(queue="gpu")
    OrmQ.objects.all().delete()

    reaper.run()

    assert tickets() == ["cpu", "cpu", "gpu"]


def test_a_queue_is_topped_up_once_however_many_wait(enqueue, monkeypatch) -> None:
    for _ in range(3):
        enqueue()
    topped_up: list[str] = []
    monkeypatch.setattr(queue, "top_up", lambda name: topped_up.append(name) or 0)

    reaper.run()

    assert topped_up == ["cpu"]


def test_a_running_render_makes_no_ticket(enqueue, claim) -> None:
    enqueue()
    claim()
    OrmQ.objects.all().delete()

    reaper.run()

    assert tickets() == []


# A place under a tenant's limit that becomes free is told to whom it concerns.


@pytest.fixture
def full(enqueue, claim, plan):
    """The tenant's only place is taken; one more of its renders waits for the CPU, one for its engine."""
    plan.max_concurrent = 1
    plan.save()
    enqueue(engine="stateful")
    claimed = claim()
    enqueue()
    waiting = enqueue(engine="stateful")
    Render.objects.filter(pk=waiting.pk).update(queue="gpu")
    OrmQ.objects.all().delete()
    assert queue.top_up("cpu") == queue.top_up("gpu") == 0
    return claimed


ENDS = {
    "fail": lambda claimed: transitions.fail(claimed, transitions.canceled()),
    "cancel": transitions.cancel,
    "reap": lambda claimed: _reap_to_the_end(claimed),
    "give up": lambda claimed: _fail_too_often(claimed),
}


def _reap_to_the_end(claimed) -> None:
    Render.objects.filter(pk=claimed.render_id).update(crashes=settings.RENDER_MAX_CRASHES - 1)
    retries.reap(Render.objects.get(pk=claimed.render_id))


def _fail_too_often(claimed) -> None:
    Render.objects.filter(pk=claimed.render_id).update(failures=settings.RENDER_MAX_FAILURES - 1)
    retries.retry_later(claimed, transitions.canceled(), trace="")


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_render_offers_its_place_in_both_queues(full, end) -> None:
    ENDS[end](full)

    assert tickets() == ["cpu", "gpu"]
