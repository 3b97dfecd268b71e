import queue
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from render.cluster import watchdog
from render.machine import nodes
from render.models import Node
from tests.postgres import break_connection


class ClusterEnded(BaseException):
    """As os._exit would have done it."""


@pytest.fixture(autouse=True)
def quick(settings, monkeypatch) -> None:
    settings.CANARY_SECONDS = 0.01
    monkeypatch.setattr(watchdog, "close_old_connections", lambda: None)  # The test's transaction is on it.


@pytest.fixture
def end(monkeypatch) -> None:
    def end(status: int) -> None:
        raise ClusterEnded(status)

    monkeypatch.setattr(watchdog.os, "_exit", end)


@pytest.mark.django_db
def test_a_cluster_whose_workers_never_answer_ends(end) -> None:
    tasks: queue.Queue = queue.Queue(maxsize=1)

    with pytest.raises(ClusterEnded, match="70"):
        watchdog.watch(tasks, "cpu", exit_status=70)

    assert tasks.get()["func"] == "render.tasks.run_canary"


@pytest.mark.django_db
def test_an_answer_is_proof_of_life_for_two_canaries(settings) -> None:
    settings.CANARY_SECONDS = 60
    assert not watchdog._is_alive("cpu")

    watchdog.answer("cpu")
    assert watchdog._is_alive("cpu")
    assert not watchdog._is_alive("gpu")

    Node.objects.update(canary_at=Now() - timedelta(seconds=121))
    assert not watchdog._is_alive("cpu")


@pytest.mark.django_db
def test_a_node_that_holds_a_render_is_watched_by_its_lease(enqueue, claim, settings) -> None:
    enqueue()
    claim()
    assert Node.objects.get(pk=nodes.heartbeat("cpu").pk).canary_at is None

    assert watchdog._is_alive("cpu")


@pytest.mark.django_db(transaction=True)
def test_nobody_is_taken_for_dead_while_the_database_is_away() -> None:
    watchdog.answer("cpu")
    Node.objects.update(canary_at=Now() - timedelta(hours=1))

    break_connection()

    assert watchdog._is_alive("cpu")
    assert not watchdog._is_alive("cpu")
