"""`manage.py node_drain`: a machine is taken out, and waited for."""

import time
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from render.lifecycle import transitions
from render.machine import nodes
from render.management.commands import node_drain
from render.models import Node, State


@pytest.mark.django_db
def test_it_drains_and_undrains(settings, capsys) -> None:
    nodes.heartbeat("gpu"), nodes.heartbeat("cpu")

    call_command("node_drain", settings.NODE_NAME, queue="gpu")
    assert dict(Node.objects.values_list("queue", "draining")) == {"gpu": True, "cpu": False}
    call_command("node_drain", settings.NODE_NAME)
    assert set(Node.objects.values_list("draining", flat=True)) == {True}
    call_command("node_drain", settings.NODE_NAME, undo=True)
    assert set(Node.objects.values_list("draining", flat=True)) == {False}
    assert "is drained" in capsys.readouterr().out


@pytest.mark.django_db
def test_a_node_that_is_not_there_is_told() -> None:
    with pytest.raises(CommandError, match="no node"):
        call_command("node_drain", "nobody")


@pytest.mark.django_db
def test_it_tells_when_the_time_was_too_short(enqueue, claim, settings) -> None:
    enqueue()
    claim()

    with pytest.raises(CommandError, match="1 renders are still at work") as ended:
        call_command("node_drain", settings.NODE_NAME, wait=0.1)
    assert ended.value.returncode == 1
    assert claim() is None  # and it gets no other


@pytest.mark.django_db
def test_it_waits_until_the_render_was_handed_back(enqueue, claim, settings, capsys, monkeypatch) -> None:
    render = enqueue()
    claimed = claim()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        assert "is drained" not in capsys.readouterr().out
        pauses.append(seconds)
        if len(pauses) == 2:
            transitions.hand_back(claimed)

    monkeypatch.setattr(node_drain, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    call_command("node_drain", settings.NODE_NAME, wait=20)

    assert len(pauses) == 2
    render.refresh_from_db()
    assert (render.state, render.crashes) == (State.QUEUED, 0)
    assert "is drained" in capsys.readouterr().out
