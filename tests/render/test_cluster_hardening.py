"""The gate for an upgrade of django-q2: what is patched must still be there and be used. Its effect: tests/service."""

import inspect

from django_q import cluster
from django_q.management.commands import qcluster

from render.cluster_hardening import _DiesWithParent


def test_every_process_of_the_queue_dies_with_its_parent() -> None:
    for function in (cluster.worker, cluster.pusher, cluster.monitor):
        assert isinstance(function, _DiesWithParent)
    assert cluster.Sentinel.__name__ == "CrashOnlySentinel"
    assert qcluster.Cluster.__name__ == "GrowingAgainCluster"


def test_django_q_still_looks_the_patched_names_up_when_it_starts_processes() -> None:
    assert "target=Sentinel" in inspect.getsource(cluster.Cluster.__mro__[1].start)
    published = cluster.Sentinel.__mro__[1]
    for method, name in (("spawn_worker", "worker"), ("spawn_pusher", "pusher"), ("spawn_monitor", "monitor")):
        source = "".join(inspect.getsource(getattr(published, method)).split())
        assert f"self.spawn_process({name}," in source
    assert "self.reincarnate(p)" in inspect.getsource(published.guard)
