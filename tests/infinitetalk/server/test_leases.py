"""Who may use the GPU."""

import time

import pytest

from infinitetalk.server import leases as leases_module
from infinitetalk.server.leases import Aborted, Lease, Leases, StaleToken


def test_a_newer_claim_ends_the_older_one_and_never_the_other_way_round() -> None:
    leases = Leases()
    first = leases.begin("render", 1, 60)
    other = leases.begin("another", 1, 60)

    second = leases.begin("render", 2, 60)

    with pytest.raises(Aborted, match="claimed anew"):
        first.check()
    second.check()
    other.check()
    with pytest.raises(StaleToken):
        leases.begin("render", 1, 60)
    assert leases.find("render", 2) is second


def test_the_same_claim_may_come_again_after_its_connection_broke() -> None:
    leases = Leases()
    first = leases.begin("render", 1, 60)

    second = leases.begin("render", 1, 60)

    with pytest.raises(Aborted):
        first.check()
    second.check()
    # That of the two which is still wanted.
    assert leases.find("render", 1) is second
    leases.end(first)
    assert leases.find("render", 1) is second
    leases.end(second)
    assert leases.find("render", 1) is None


def test_a_worker_that_is_not_heard_of_loses_its_turn() -> None:
    lease = Lease("render", 1, 0.05)
    lease.check()
    time.sleep(0.1)

    with pytest.raises(Aborted, match="not extended"):
        lease.check()
    # Too late: somebody else may have the render.
    lease.extend(60)
    with pytest.raises(Aborted):
        lease.check()


def test_a_turn_can_be_extended() -> None:
    lease = Lease("render", 1, 0.05)
    lease.extend(60)
    time.sleep(0.1)

    lease.check()


def test_old_tokens_are_forgotten_before_they_fill_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(leases_module, "REMEMBERED_TOKENS", 2)
    leases = Leases()
    for render in ("a", "b", "c"):
        leases.end(leases.begin(render, 5, 60))

    leases.begin("a", 1, 60)
    with pytest.raises(StaleToken):
        leases.begin("c", 4, 60)
