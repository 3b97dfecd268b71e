"""What the lease's thread finds at a renewal, one renewal at a time."""

import os
import signal
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

from render.fence import Fenced
from render.lifecycle import lease, progress, transitions
from render.lifecycle.lease import Draining, Lease
from render.models import Node, Render, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]


@pytest.fixture
def held(enqueue, claim) -> Lease:
    enqueue()
    return Lease(claim())


def own(held: Lease) -> Render:
    return Render.objects.get(pk=held.render_id)


def test_a_node_that_works_on_is_not_draining(held) -> None:
    held._renew()

    held.check_draining()
    held.check()


def test_a_node_that_drains_is_found_at_the_next_renewal_and_may_be_undone(held) -> None:
    other = Node.objects.create(name="another", queue="cpu", draining=True)
    held._renew()
    held.check_draining()

    Node.objects.exclude(pk=other.pk).update(draining=True)
    held._renew()
    with pytest.raises(Draining):
        held.check_draining()
    Node.objects.update(draining=False)
    held._renew()
    held.check_draining()


def test_a_render_whose_nodes_row_is_gone_is_not_draining(held) -> None:
    Render.objects.filter(pk=held.render_id).update(node=None)
    held._renew()

    held.check_draining()


def test_a_cancel_is_carried_out_at_the_next_renewal(held) -> None:
    transitions.request_cancel(own(held))
    held.check()
    held._renew()

    assert own(held).state == State.CANCELED
    with pytest.raises(Fenced):
        held.check()


def test_what_gets_no_further_is_tried_again_after_the_next_renewal(held) -> None:
    held._deadline = time.monotonic() + 60
    held._renew()
    assert own(held).state == State.RUNNING

    held._deadline = time.monotonic() - 1
    held._renew()

    assert (own(held).state, own(held).failures) == (State.QUEUED, 1)
    assert "held._renew()" in own(held).error_trace  # Where the worker was.
    with pytest.raises(Fenced):
        held.check()


def test_what_has_stood_still_too_often_fails(held) -> None:
    Render.objects.filter(pk=held.render_id).update(failures=settings.RENDER_MAX_FAILURES - 1)
    held._deadline = time.monotonic() - 1
    held._renew()

    assert (own(held).state, own(held).error_code) == (State.FAILED, "render_timeout")
    assert own(held).error_message == "The render got no further for 2700 s."


def seconds_allowed(held: Lease) -> float:
    return held._deadline - time.monotonic()


STEPS = {
    "a part of a segment": lambda held: held.report(0.25),
    "a part of the upload": lambda held: held.report_upload(0.25),
    "a file, a segment, a phase": lambda held: held.moved_on(),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_each_step_forward_gives_it_the_whole_time_again(held, step) -> None:
    held._deadline = 0
    step(held)

    assert seconds_allowed(held) > settings.RENDER_TIMEOUT_SECONDS - 60


def test_what_is_done_once_more_is_no_step_forward(held) -> None:
    """A model server that dies in each try renders the same steps again and again."""
    held.report(0.25)
    held._deadline = 0
    held.report(0.1)
    held.report(0.25)
    assert held._deadline == 0

    held.report_upload(0.0)
    held._deadline = 0
    held.report_upload(0.0)
    held.report(1.0)
    assert held._deadline == 0


def test_after_an_outage_of_the_database_there_is_time_to_record_what_was_done(held) -> None:
    held._deadline = 0
    held._go_on_without_database()

    assert 0 < seconds_allowed(held) <= settings.RENDER_LEASE_SECONDS
    held._renew()
    assert own(held).state == State.RUNNING


def test_it_may_take_as_long_as_the_setting_says(enqueue, claim, settings) -> None:
    settings.RENDER_TIMEOUT_SECONDS = 1000
    enqueue()
    left = Lease(claim())._deadline - time.monotonic()

    assert 900 < left <= 1000


def test_a_renewal_lasts_one_lease_and_shows_what_was_done(held) -> None:
    Render.objects.filter(pk=held.render_id).update(lease_until=Now())
    held.report(0.5)
    held._renew()

    render = own(held)
    assert render.progress == 47
    assert render.lease_until - render.heartbeat_at == timedelta(seconds=settings.RENDER_LEASE_SECONDS)
    held.report(0.1)
    held._renew()
    assert own(held).progress == 47
    held.report_upload(1.0)
    held._renew()
    assert own(held).progress == 99


def test_without_a_report_progress_stays(held) -> None:
    Render.objects.filter(pk=held.render_id).update(progress=60)
    held._renew()

    assert own(held).progress == 60


def test_who_is_lost_cannot_renew(held) -> None:
    Render.objects.filter(pk=held.render_id).update(attempt=2)

    with pytest.raises(Fenced):
        held._renew()


def test_the_engine_is_told_how_long_it_may_count_on_it(held) -> None:
    held._renewed()
    assert settings.RENDER_LEASE_SECONDS - 5 < held.seconds_left() <= settings.RENDER_LEASE_SECONDS
    held._good_until = time.monotonic() - 5
    assert held.seconds_left() == 0


def test_an_outage_is_sat_out_until_patience_ends(held) -> None:
    held._renewed_at = time.monotonic() - settings.RENDER_OUTAGE_SECONDS + 30
    held._good_until = 0
    held._go_on_without_database()
    held.check()
    assert settings.RENDER_LEASE_SECONDS - 5 < held.seconds_left() <= settings.RENDER_LEASE_SECONDS

    held._renewed_at -= 60
    held._go_on_without_database()
    with pytest.raises(Fenced):
        held.check()


@pytest.mark.parametrize(("done", "shown"), [(0, 5), (0.1, 13), (0.5, 47), (0.99, 89), (1, 90)])
def test_rendering_fills_the_bar_from_5_to_90_percent(done, shown) -> None:
    assert progress.of_rendering(done) == shown


@pytest.mark.parametrize(("done", "shown"), [(0, 93), (0.5, 96), (1, 99)])
def test_uploading_fills_the_bar_from_93_to_99_percent(done, shown) -> None:
    assert progress.of_uploading(done) == shown


class Stop:
    """Stands for the event that ends the thread: notes each wait, and ends it after so many."""

    def __init__(self, waits: int) -> None:
        self.left, self.waits = waits, []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.left -= 1
        return self.left < 0


@pytest.fixture
def kept(held, monkeypatch, settings):
    """Runs the thread's loop here, for so many waits; tells how long they were, and whether the worker was killed."""
    settings.RENDER_LEASE_RENEW_SECONDS, settings.RENDER_HANG_SECONDS = 10, 900
    killed, closed = [], []
    monkeypatch.setattr(lease.os, "kill", lambda *arguments: killed.append(arguments))
    monkeypatch.setattr(lease, "connection", SimpleNamespace(close=lambda: closed.append(True)))

    def keep(waits: int) -> tuple[list[float], bool, int]:
        held._stop = Stop(waits)
        held._keep()
        assert killed in ([], [(os.getpid(), signal.SIGKILL)])
        return held._stop.waits, bool(killed), len(closed)

    return keep


def test_a_lease_is_renewed_every_so_often_and_its_connection_closed(held, kept) -> None:
    Render.objects.filter(pk=held.render_id).update(heartbeat_at=None)

    assert kept(3) == ([10, 10, 10, 10], False, 1)
    assert own(held).heartbeat_at is not None


def test_after_an_outage_it_is_tried_again_soon_and_then_as_ever(held, kept, monkeypatch) -> None:
    troubles = [None, OperationalError("away"), InterfaceError("away"), None]
    renew = held._renew

    def trouble() -> None:
        if error := troubles.pop(0):
            raise error
        renew()

    monkeypatch.setattr(held, "_renew", trouble)

    assert kept(4) == ([10, 10, 1, 1, 10], False, 3)
    held.check()


def test_it_is_tried_no_later_than_it_would_have_been(held, kept, monkeypatch, settings) -> None:
    settings.RENDER_LEASE_RENEW_SECONDS = 0.5
    monkeypatch.setattr(held, "_renew", _away)

    assert kept(1)[0] == [0.5, 0.5]


def _away() -> None:
    raise OperationalError("away")


def test_patience_ends_the_loop(held, kept, monkeypatch) -> None:
    monkeypatch.setattr(held, "_renew", _away)
    held._renewed_at = time.monotonic() - settings.RENDER_OUTAGE_SECONDS - 1

    assert kept(1) == ([10, 900], False, 2)
    with pytest.raises(Fenced):
        held.check()


@pytest.mark.parametrize("how", ["canceled", "taken"])
def test_who_is_lost_renews_no_more_and_is_killed_when_it_hangs(held, kept, how) -> None:
    if how == "canceled":
        transitions.request_cancel(own(held))
    else:
        Render.objects.filter(pk=held.render_id).update(attempt=7)

    assert kept(2) == ([10, 900], True, 1)


def test_who_is_lost_and_notices_is_not_killed(held, kept) -> None:
    transitions.request_cancel(own(held))

    assert kept(1) == ([10, 900], False, 1)


def test_each_renewal_makes_the_lease_good_for_as_long_again(held, kept) -> None:
    held._renewed_at = held._good_until = 0
    kept(1)

    assert held.seconds_left() > settings.RENDER_LEASE_SECONDS - 5
    assert time.monotonic() - held._renewed_at < 5
