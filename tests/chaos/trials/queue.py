"""Lost tickets, renders that do harm, tenants that send hundreds, nodes that drain or whose clock is wrong."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from django.db.models import Min
from django_q.models import OrmQ

from creatorify.demo.supervisor import BASE_DIR
from render.models import Attempt, Node, Render, State
from render.queue import tickets as queue
from tests.chaos.results.figures import Figure, exactly, times
from tests.chaos.stage import GPU_NODES, HANG_SECONDS, Stage, until
from tests.chaos.trials.deaths import LONG_FRAMES, at_segment, film, finished

FLOOD, FEW = 500, 5
CLOCK_SECONDS = 300


def tickets(stage: Stage) -> list[Figure]:
    """F9: a hundred too many, and all of them lost."""
    stage.tenant("Ivy")
    for _ in range(100):
        queue.add_ticket("gpu")
    gone = until(lambda: not OrmQ.objects.filter(key="gpu").exists(), 60, "no ticket is left")
    with stage.draining(*GPU_NODES):
        renders = [stage.create("Ivy") for _ in range(5)]
        prepared = Render.objects.filter(pk__in=[render.pk for render in renders], queue="gpu", state=State.QUEUED)
        until(lambda: prepared.count() == 5, 30, "they are prepared")
        time.sleep(1)  # The nodes take tickets while they drain, too.
        OrmQ.objects.filter(key="gpu").delete()
    begin = time.monotonic()
    for render in renders:
        finished(render)
    return [
        times("F9", "100 tickets too many are gone", [gone], at_most=5),
        times("F9", "all tickets are lost: five waiting renders are finished", [time.monotonic() - begin], at_most=30),
    ]


def bad_renders(stage: Stage) -> list[Figure]:
    """F10 and F11: one kills its workers, one fails each time, one never returns from C code; among 20 good ones."""
    stage.tenant("Juniper")
    poison, failing = stage.create("Juniper", "poison"), stage.create("Juniper", "failing")
    good = [stage.create("Juniper") for _ in range(20)]
    for render in good:
        finished(render)
    ends = [_ended(render) for render in (poison, failing)]
    hanging = stage.create("Juniper", "hanging")
    until(Render.objects.filter(pk=hanging.pk, state=State.RUNNING, node__queue="gpu").exists, 30, "it hangs")
    node = Render.objects.select_related("node").get(pk=hanging.pk).node
    assert node is not None
    [worker] = stage.tree(node.name).workers
    stage.cancel("Juniper", hanging)
    killed = until(lambda: not worker.is_running(), 60, "it is killed")
    return [
        exactly(
            "F10", "what became of a render that kills its workers", ends[0], wanted="failed: worker_lost, 5 deaths"
        ),
        exactly("F10", "good renders that were finished beside it", len(good), wanted=20),
        exactly("F11", "one that fails each time", ends[1], wanted="failed: internal, 0 deaths"),
        times(
            "F11", "one that hangs in C code is canceled: its worker is let go of", [killed], at_most=HANG_SECONDS + 10
        ),
    ]


def flood(stage: Stage) -> list[Figure]:
    """F14: one tenant sends hundreds of renders, then another one a few."""
    stage.tenant("Kapok")
    stage.tenant("Larch")
    alone = _mean_wait([stage.create("Larch") for _ in range(FEW)])
    many = [stage.create("Kapok") for _ in range(FLOOD)]
    beside = _mean_wait([stage.create("Larch") for _ in range(FEW)])
    waiting = Render.objects.filter(pk__in=[render.pk for render in many], state=State.QUEUED).count()
    until(lambda: not Render.objects.exclude(state=State.FINISHED).exists(), 900, "all are finished")
    return [
        Figure(
            "F14",
            f"{FEW} renders beside {FLOOD} of another tenant, {waiting} of them still waiting when those were finished:"
            " their mean wait, and alone",
            "≤ 2 × alone",
            f"{beside:.1f} s, {alone:.1f} s: {beside / alone:.2f} ×",
            waiting > 0 and beside <= 2 * alone,
        )
    ]


def drains(stage: Stage) -> list[Figure]:
    """F15: a node is taken out for a new release, with a render in its hands."""
    stage.tenant("Maple")
    whole = film(finished(stage.create("Maple", frames=LONG_FRAMES)))
    took, crashes, films = [], 0, set()
    for _ in range(10):
        render = stage.create("Maple", frames=LONG_FRAMES)
        node = at_segment(render, 5)
        begin = time.monotonic()
        command = [sys.executable, "manage.py", "node_drain", node, "--wait", "60"]
        subprocess.run(command, cwd=BASE_DIR, check=True, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - begin)
        render = finished(render)
        assert render.attempts.filter(outcome=Attempt.Outcome.YIELDED).count() == 1
        crashes += render.crashes
        films.add(film(render))
        Node.objects.filter(name=node).update(draining=False)
    return [
        times("F15", "a node at work is drained", took, at_most=15),
        exactly("F15", "crashes that were counted", crashes, wanted=0),
        exactly("F15", "videos that differ from an unbroken one", len(films - {whole}), wanted=0),
    ]


def wrong_clock(stage: Stage) -> list[Figure]:
    """F17: one node's clock is five minutes ahead, the other one's five minutes behind."""
    stage.tenant("Nutmeg")
    begin = time.monotonic()
    renders = [finished(stage.create("Nutmeg")) for _ in range(2)]
    renders += [finished(render) for render in [stage.create("Nutmeg", frames=LONG_FRAMES) for _ in range(10)]]
    took = time.monotonic() - begin
    by_node = Attempt.objects.filter(render__in=renders, node__queue="gpu").values_list("node__name", flat=True)
    lost = Attempt.objects.filter(render__in=renders).exclude(
        outcome__in=[Attempt.Outcome.DONE, Attempt.Outcome.HANDED_OVER]
    )
    return [
        exactly("F17", "clocks 5 min wrong: attempts that were reaped or broken off", lost.count(), wanted=0),
        exactly("F17", "nodes that took renders", sorted(set(by_node)), wanted=list(GPU_NODES)),
        times("F17", "12 renders", [took], at_most=90),
    ]


def clock_prefixes() -> dict[str, list[str]]:
    """Not the command `faketime`, which would be one more process above the node's."""
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert libraries, "apt-get install libfaketime"
    common = ["env", f"LD_PRELOAD={libraries[0]}", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
    return {node: [*common, f"FAKETIME={sign}{CLOCK_SECONDS}s"] for node, sign in zip(GPU_NODES, "+-", strict=True)}


def _ended(render: Render) -> str:
    ended = Render.objects.filter(pk=render.pk, completed_at__isnull=False)
    until(ended.exists, 120, f"{render.pk} ends")
    render = ended.get()
    return f"{render.state}: {render.error_code}, {render.crashes} deaths"


def _mean_wait(renders: list[Render]) -> float:
    """Seconds from the request until a GPU node takes it."""
    for render in renders:
        finished(render, seconds=300)
    first = Min("attempts__started_at")
    on_gpu = Render.objects.filter(pk__in=[render.pk for render in renders], attempts__node__queue="gpu")
    return mean(
        (at - created).total_seconds() for at, created in on_gpu.annotate(at=first).values_list("at", "created_at")
    )
