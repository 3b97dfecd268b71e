"""`manage.py node_drain`: a machine is taken out, and waited for."""

from threading import Timer

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from render.lifecycle import transitions
from render.machine import nodes
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
        call_command("node_drain", settings.NODE_NAME, wait=0.3)
    assert ended.value.returncode == 1
    assert claim() is None  # and it gets no other


@pytest.mark.django_db(transaction=True)
def test_it_waits_until_the_render_was_handed_back(enqueue, claim, settings, capsys) -> None:
    render = enqueue()
    claimed = claim()

    def hand_back() -> None:
        transitions.hand_back(claimed)
        connection.close()

    timer = Timer(0.5, hand_back)
    timer.start()
    call_command("node_drain", settings.NODE_NAME, wait=20)
    timer.join()

    render.refresh_from_db()
    assert (render.state, render.crashes) == (State.QUEUED, 0)
    assert "is drained" in capsys.readouterr().out
