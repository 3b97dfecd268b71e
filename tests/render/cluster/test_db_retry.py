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
        time.sleep(0.3)
        held.check()
        assert held.seconds_left() > 0
        away.clear()
        time.sleep(0.1)
        held.check()

    assert Render.objects.get().attempt == 1


@pytest.mark.django_db(transaction=True)
def test_a_lease_ends_with_patience(enqueue, claim, settings, away) -> None:
    settings.RENDER_OUTAGE_SECONDS = 0.1
    enqueue()
    away.append("for good")

    with Lease(claim()) as held:
        time.sleep(0.3)
        with pytest.raises(Fenced):
            held.check()


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_hangs_after_the_end_is_killed(enqueue, claim, settings, monkeypatch) -> None:
    settings.RENDER_HANG_SECONDS = 0.05
    killed = []
    monkeypatch.setattr(lease.os, "kill", lambda *arguments: killed.append(arguments))
    enqueue()

    with Lease(claim()):
        Render.objects.update(attempt=2)
        time.sleep(0.3)

    assert len(killed) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_notices_the_end_is_not(enqueue, claim, settings, monkeypatch) -> None:
    settings.RENDER_HANG_SECONDS = 0.2
    killed = []
    monkeypatch.setattr(lease.os, "kill", lambda *arguments: killed.append(arguments))
    enqueue()

    with Lease(claim()) as held:
        Render.objects.update(attempt=2)
        time.sleep(0.1)
        with pytest.raises(Fenced):
            held.check()
    time.sleep(0.3)

    assert killed == []
