import time

import pytest
from django.db import OperationalError

from render import fence
from render.cluster import db_retry
from render.fence import Fenced
from render.lifecycle import lease
from render.lifecycle.lease import Lease
from render.models import Render
from tests.postgres import break_connection
from tests.stack import until


@pytest.fixture(autouse=True)
def quick(settings, monkeypatch) -> None:
    monkeypatch.setattr(db_retry, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(lease, "OUTAGE_PAUSE_SECONDS", 0.01)
    settings.RENDER_LEASE_RENEW_SECONDS = 0.02


@pytest.mark.django_db(transaction=True)
def test_a_step_is_done_again_when_the_database_is_back(enqueue) -> None:
    enqueue()
    break_connection()

    assert db_retry.retry_through_outage(lambda: Render.objects.count()) == 1


@pytest.mark.django_db(transaction=True)
def test_patience_ends(settings) -> None:
    settings.RENDER_OUTAGE_SECONDS = 0.05

    def step() -> None:
        time.sleep(0.01)
        raise OperationalError("away")

    with pytest.raises(OperationalError):
        db_retry.retry_through_outage(step)


@pytest.mark.django_db(transaction=True)
def test_who_has_lost_the_render_waits_no_longer() -> None:
    def step() -> None:
        raise OperationalError("away")

    def check() -> None:
        raise Fenced

    with pytest.raises(Fenced):
        db_retry.retry_through_outage(step, check=check)


def has_ended(held: Lease) -> bool:
    try:
        held.check()
    except Fenced:
        return True
    return False


@pytest.fixture
def away(monkeypatch):
    """Renewals fail while the list has something in it."""
    broken: list[str] = []
    renew = fence.renew

    def maybe_renew(*arguments, **named):
        if broken:
            raise OperationalError("away")
        return renew(*arguments, **named)

    monkeypatch.setattr(fence, "renew", maybe_renew)
    return broken


@pytest.mark.django_db(transaction=True)
def test_a_lease_outlasts_an_outage_longer_than_itself(enqueue, claim, settings, away) -> None:
    settings.RENDER_LEASE_SECONDS = 0.1
    enqueue()
    away.append("for a while")

    with Lease(claim()) as held:
        time.sleep(0.15)
        until(lambda: held.seconds_left() > 0)
        held.check()
        away.clear()
        seen = Render.objects.get().heartbeat_at
        until(lambda: Render.objects.get().heartbeat_at > seen)
        held.check()

    assert Render.objects.get().attempt == 1


@pytest.mark.django_db(transaction=True)
def test_a_lease_ends_with_patience(enqueue, claim, settings, away) -> None:
    settings.RENDER_OUTAGE_SECONDS = 0.1
    enqueue()
    away.append("for good")

    with Lease(claim()) as held:
        until(lambda: has_ended(held))


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_hangs_after_the_end_is_killed(enqueue, claim, settings, monkeypatch) -> None:
    settings.RENDER_HANG_SECONDS = 0.05
    killed = []
    monkeypatch.setattr(lease.os, "kill", lambda *arguments: killed.append(arguments))
    enqueue()

    with Lease(claim()):
        Render.objects.update(attempt=2)
        until(lambda: bool(killed))

    assert len(killed) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_notices_the_end_is_not(enqueue, claim, settings, monkeypatch) -> None:
    settings.RENDER_HANG_SECONDS = 60
    killed = []
    monkeypatch.setattr(lease.os, "kill", lambda *arguments: killed.append(arguments))
    enqueue()

    with Lease(claim()) as held:
        Render.objects.update(attempt=2)
        until(lambda: has_ended(held))
    # Its thread, which would kill it, has ended with the block.

    assert killed == []
