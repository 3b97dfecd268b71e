"""Who may use the GPU."""

import time

import pytest

from infinitetalk.server import leases as turns_module
from infinitetalk.server.leases import Aborted, StaleToken, Turn, Turns


def test_a_newer_claim_ends_the_older_one_and_never_the_other_way_round() -> None:
    turns = Turns()
    first = turns.begin("render", 1, 60)
    other = turns.begin("another", 1, 60)

    second = turns.begin("render", 2, 60)

    with pytest.raises(Aborted, match="claimed anew"):
        first.check()
    second.check()
    other.check()
    with pytest.raises(StaleToken):
        turns.begin("render", 1, 60)
    assert turns.find("render", 2) is second


def test_the_same_claim_may_come_again_after_its_connection_broke() -> None:
    turns = Turns()
    first = turns.begin("render", 1, 60)

    second = turns.begin("render", 1, 60)

    with pytest.raises(Aborted):
        first.check()
    second.check()
    # That of the two which is still wanted.
    assert turns.find("render", 1) is second
    turns.end(first)
    assert turns.find("render", 1) is second
    turns.end(second)
    assert turns.find("render", 1) is None


def test_a_worker_that_is_not_heard_of_loses_its_turn() -> None:
    turn = Turn("render", 1, 0.05)
    turn.check()
    time.sleep(0.1)

    with pytest.raises(Aborted, match="not extended"):
        turn.check()
    # Too late: somebody else may have the render.
    turn.extend(60)
    with pytest.raises(Aborted):
        turn.check()


def test_a_turn_can_be_extended() -> None:
    turn = Turn("render", 1, 0.05)
    turn.extend(60)
    time.sleep(0.1)

    turn.check()


def test_old_tokens_are_forgotten_before_they_fill_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(turns_module, "REMEMBERED_TOKENS", 2)
    turns = Turns()
    for render in ("a", "b", "c"):
        turns.end(turns.begin(render, 5, 60))

    turns.begin("a", 1, 60)
    with pytest.raises(StaleToken):
        turns.begin("c", 4, 60)
