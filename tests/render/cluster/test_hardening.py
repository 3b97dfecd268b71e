"""The gate for an upgrade of django-q2: what is patched must still be there and be used. Its effect: tests/service."""

import inspect
import multiprocessing
import threading
import time
import uuid
from typing import Any

import pytest
from django_q import cluster
from django_q.conf import Conf
from django_q.management.commands import qcluster
from django_q.queues import Queue

from render.cluster import hardening, watchdog
from render.cluster.broker import PatientBroker
from render.cluster.hardening import _DiesWithParent
from render.queue import tickets


def test_every_process_of_the_queue_dies_with_its_parent() -> None:
    for function in (cluster.worker, cluster.pusher, cluster.monitor):
        assert isinstance(function, _DiesWithParent)
    assert cluster.Sentinel.__name__ == "CrashOnlySentinel"
    assert qcluster.Cluster.__name__ == "RestartingCluster"


def test_django_q_still_looks_the_patched_names_up_when_it_starts_processes() -> None:
    assert "target=Sentinel" in inspect.getsource(cluster.Cluster.__mro__[1].start)
    published = cluster.Sentinel.__mro__[1]
    for method, name in (("spawn_worker", "worker"), ("spawn_pusher", "pusher"), ("spawn_monitor", "monitor")):
        source = "".join(inspect.getsource(getattr(published, method)).split())
        assert f"self.spawn_process({name}," in source
    assert "self.reincarnate(p)" in inspect.getsource(published.guard)


def test_it_stops_although_its_sentinel_was_killed_in_the_middle_of_looking_at_the_event() -> None:
    context = multiprocessing.get_context("fork")
    queue = cluster.Cluster.__new__(cluster.Cluster)
    queue.cluster_id, stopped = uuid.uuid4(), []
    queue.stop_event, queue.start_event, locked = context.Event(), context.Event(), context.Event()
    queue.sentinel = context.Process(target=_lock_for_ever, args=(queue.stop_event, locked), daemon=True)
    queue.sentinel.start()
    assert locked.wait(10)
    stopping = threading.Thread(target=lambda: stopped.append(queue.stop()), daemon=True)
    stopping.start()
    queue.sentinel.kill()

    stopping.join(10)
    assert stopped == [True]


@pytest.mark.django_db
def test_no_ticket_is_taken_while_the_one_before_waits_for_a_worker(monkeypatch) -> None:
    """What has come meanwhile may have to be done first, or another node may be free for it."""
    monkeypatch.setattr(watchdog, "watch", lambda *arguments, **named: None)
    monkeypatch.setattr(Conf, "POLL", 0.001)
    given: list[PatientBroker] = []
    push = hardening._pushing(lambda tasks, event, broker: given.append(broker))
    tasks = Queue(maxsize=2)
    push(tasks, None)
    [broker] = given
    for _ in range(3):
        tickets.add_ticket(broker.list_key)

    tasks.put(broker.dequeue())
    assert broker.dequeue() is None
    tasks.get()
    assert broker.dequeue() is not None


def _lock_for_ever(event: Any, locked: Any) -> None:
    with event._cond:
        locked.set()
        time.sleep(60)
