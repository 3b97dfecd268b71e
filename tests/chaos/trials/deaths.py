"""Processes die or freeze at a chosen moment."""

import signal
import time
from collections import Counter
from datetime import datetime
from unittest import mock

import psutil
from django.db import connection

from creatorify.demo import supervisor
from render.models import Render, State
from tests.chaos.results.figures import Figure, exactly, times
from tests.chaos.stage import GPU_NODES, LEASE_SECONDS, QUEUES, REAP_SECONDS, Stage, until

RECLAIM_SECONDS = LEASE_SECONDS + 1.5
FRAMES, SEGMENTS = 77, 16
LONG_FRAMES = 317  # 64 segments, some six seconds


def killed_workers(stage: Stage) -> list[Figure]:
    """F2 and F19: 50 workers in the middle of a render, in each of its segments."""
    stage.tenant("Dogwood")
    whole = finished(stage.create("Dogwood", frames=FRAMES))
    waits, renders = [], []
    for number in range(50):
        workers = {node: stage.tree(node).workers[0] for node in GPU_NODES}
        render = stage.create("Dogwood", frames=FRAMES)
        workers[at_segment(render, number % (SEGMENTS - 3) + 1)].kill()
        killed_at = now()
        renders.append(finished(render))
        second = render.attempts.filter(node__queue="gpu", started_at__gt=killed_at).earliest("number")
        waits.append((second.started_at - killed_at).total_seconds())
    made = Counter(line.split()[0] for line in (stage.folder / "history").read_text().splitlines())
    twice = max(made[str(render.pk)] - SEGMENTS for render in renders)
    films = {film(render) for render in [whole, *renders]}
    return [
        times("F2", "a worker is killed in mid-segment: its render is claimed again", waits, at_most=RECLAIM_SECONDS),
        Figure("F2", "segments rendered twice for one death", "≤ 1", str(twice), twice <= 1),
        exactly("F19", "different videos, broken off in each segment or never", len(films), wanted=1),
    ]


def lost_node(stage: Stage) -> list[Figure]:
    """F3: a whole machine, for good."""
    stage.tenant("Elm")
    took = []
    for _ in range(3):
        render = stage.create("Elm", frames=LONG_FRAMES)
        node = at_segment(render, 5)
        begin = time.monotonic()
        with stage.without(node):
            finished(render)
            took.append(time.monotonic() - begin)
        stage.tree(node)
    bound = LEASE_SECONDS + REAP_SECONDS + 10
    return [times("F3", "a machine is lost, another one finishes its render", took, at_most=bound)]


def killed_idle_workers(stage: Stage) -> list[Figure]:
    """F4: the moment at which the published django-q2 stops for ever."""
    stage.tenant("Fir")
    waits = []
    for number in range(20):
        name = QUEUES[number % len(QUEUES)]
        others = [node for node in GPU_NODES if node != name] if name in GPU_NODES else []
        with stage.draining(*others):
            stage.tree(name).workers[0].kill()
            killed_at = now()
            render = stage.create("Fir")
            queue = "gpu" if name in GPU_NODES else "cpu"
            attempts = render.attempts.filter(node__queue=queue)
            until(attempts.exists, 30, f"{name} works")
            waits.append((attempts.earliest("number").started_at - killed_at).total_seconds())
        finished(render)
        stage.tree(name)
    return [times("F4", "a worker is killed while it waits: its queue takes new work", waits, at_most=5)]


def orphans(stage: Stage) -> list[Figure]:
    """F5: what is left of a tree whose root or trunk was killed."""
    left = 0
    for number in range(20):
        tree = stage.tree(QUEUES[number % len(QUEUES)])
        dead = tree.all if number % 2 else tree.all[1:]  # The main process lives on when its sentinel dies.
        with mock.patch.object(supervisor, "_kill_group"):  # Without its help: that of the tree itself is measured.
            dead[0].kill()
            time.sleep(2)
        left += len(alive(dead))
    return [exactly("F5", "processes left 2 s after a sentinel or a main process was killed, 20 times", left, wanted=0)]


def frozen_workers(stage: Stage) -> list[Figure]:
    """F6: a worker sleeps through two leases, and wakes up with its render in another's hands."""
    stage.tenant("Gum")
    films, stale, before = set(), 0, fenced(stage)
    for _ in range(20):
        render = stage.create("Gum", frames=LONG_FRAMES)
        worker = stage.tree(at_segment(render, 5)).workers[0]
        worker.send_signal(signal.SIGSTOP)
        attempt = Render.objects.get(pk=render.pk).attempt
        time.sleep(2 * LEASE_SECONDS)
        written = render.segments.filter(attempt=attempt).count()
        worker.send_signal(signal.SIGCONT)
        films.add(film(finished(render)))
        time.sleep(1)
        stale += render.segments.filter(attempt=attempt).count() - written
    return [
        exactly("F6", "frozen for two leases, 20 times: workers that were fenced", fenced(stage) - before, wanted=20),
        exactly("F6", "segments that they wrote afterwards", stale, wanted=0),
        exactly("F6", "different videos", len(films), wanted=1),
    ]


def terminations(stage: Stage) -> list[Figure]:
    """F16: a stop by the supervisor, to the main process alone as is right, and to all at once as is wrong."""
    stage.tenant("Hazel")
    figures = []
    for kind, bound in (("the main process", 180.0), ("all its processes at once", 180.0)):
        took, left = [], 0
        for _ in range(3):
            render = stage.create("Hazel", frames=LONG_FRAMES)
            node = at_segment(render, 5)
            main, tree = stage.supervised(node), stage.tree(node)
            begin = time.monotonic()
            for process in [main] if kind == "the main process" else [main, *tree.all]:
                process.terminate()
            main.wait(bound)
            took.append(time.monotonic() - begin)
            time.sleep(1)
            left += len(alive(tree.all))
            render = finished(render)
            if kind == "the main process":
                left += render.crashes
            stage.tree(node)
        figures += [
            times("F16", f"SIGTERM to {kind} of a node at work: it ends", took, at_most=bound),
            exactly("F16", "processes left then, and crashes counted of orderly stops", left, wanted=0),
        ]
    return figures


def now() -> datetime:
    """By the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment


def at_segment(render: Render, number: int) -> str:
    """Wait until so many segments of it are recorded; return the node that is at work."""
    until(lambda: render.segments.count() >= number, 60, f"segment {number}")
    node = Render.objects.select_related("node").get(pk=render.pk).node
    assert node is not None
    return node.name


def finished(render: Render, seconds: float = 90) -> Render:
    ended = Render.objects.filter(pk=render.pk, completed_at__isnull=False)
    until(ended.exists, seconds, f"{render.pk} ends")
    render = ended.get()
    assert render.state == State.FINISHED, f"{render.pk} is {render.state}: {render.error_code} {render.error_trace}"
    return render


def film(render: Render) -> str:
    return render.video_key.removesuffix(".mp4")[-64:]


def fenced(stage: Stage) -> int:
    logs = [(stage.folder / "logs" / f"{node}.log").read_text() for node in GPU_NODES]
    return sum(log.count("was ended by somebody else") for log in logs)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
