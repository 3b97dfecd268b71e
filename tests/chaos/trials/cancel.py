"""F12: a cancel at every point of a render's life, with the leases and renewals of production."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from accounts.models import UsageEntry
from render.models import Phase, Render, State
from tests.chaos.results.figures import Figure, exactly, times
from tests.chaos.stage import GPU_NODES, Stage, until
from tests.chaos.trials.database import at_phase
from tests.chaos.trials.deaths import at_segment, finished

TIMES = 20
ALIVE_SECONDS, DEAD_SECONDS = 12, 75
PRODUCTION = {
    "RENDER_LEASE_SECONDS": "60",
    "RENDER_LEASE_RENEW_SECONDS": "10",
    "REAPER_INTERVAL_SECONDS": "15",
    "RENDER_HANG_SECONDS": "900",
    "CHAOS_UPLOAD_SECONDS": "1.5",
}


def cancels(stage: Stage) -> list[Figure]:
    stage.tenant("Oak")
    alive = {
        "it waits": _waiting(stage),
        "its sources are fetched": _each(stage, "brief", _at(Phase.PREPARE), picture="slow/picture.png"),
        "a segment is rendered, of 15 s": _each(stage, "patient", _on_gpu),
        "it is uploaded": _each(stage, "brief", _at(Phase.UPLOADING)),
    }
    figures = [
        times("F12", f"canceled while {point}: until it has ended", seconds, at_most=ALIVE_SECONDS)
        for point, seconds in alive.items()
    ]
    figures += [times("F12", "canceled when its worker is dead", _dead(stage), at_most=DEAD_SECONDS)]
    states = Render.objects.values_list("state", flat=True).distinct()
    bills = UsageEntry.objects.all()
    return [
        *figures,
        exactly("F12", "what became of them", list(states), wanted=["canceled"]),
        exactly("F12", "charges for what was canceled", bills.exclude(billed_seconds=0).count(), wanted=0),
        *_finishing(stage),
    ]


def _waiting(stage: Stage) -> list[float]:
    with stage.draining(*GPU_NODES):
        renders = [stage.create("Oak") for _ in range(TIMES)]
        until(lambda: Render.objects.filter(queue="gpu", state=State.QUEUED).count() == TIMES, 60, "all wait")
        return [_canceled(stage, render) for render in renders]


def _each(stage: Stage, engine: str, wait: Callable[[Render], None], **body: str) -> list[float]:
    """Two at a time."""

    def one(_: int) -> float:
        render = stage.create("Oak", engine, **body)
        wait(render)
        return _canceled(stage, render)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(TIMES)))


def _canceled(stage: Stage, render: Render) -> float:
    """Cancel it; return the seconds until it has ended."""
    begin = time.monotonic()
    assert stage.cancel("Oak", render) in (200, 202)
    until(Render.objects.filter(pk=render.pk, completed_at__isnull=False).exists, 90, "it ends")
    return time.monotonic() - begin


def _at(phase: Phase) -> Callable[[Render], None]:
    return lambda render: at_phase(render, phase)


def _on_gpu(render: Render) -> None:
    working = Render.objects.filter(pk=render.pk, state=State.RUNNING, node__queue="gpu")
    until(working.exists, 120, "it is rendered")
    time.sleep(1)


def _dead(stage: Stage) -> list[float]:
    renders = []
    for _ in range(TIMES):
        render = stage.create("Oak", frames=317)
        stage.tree(at_segment(render, 3)).workers[0].kill()
        assert stage.cancel("Oak", render) == 202
        renders.append(render.pk)
    until(lambda: not Render.objects.filter(state=State.RUNNING).exists(), 120, "all have ended")
    ended = Render.objects.filter(pk__in=renders).values_list("cancel_requested_at", "completed_at")
    return [(completed - requested).total_seconds() for requested, completed in ended]


def _finishing(stage: Stage) -> list[Figure]:
    """The finishing transaction is under way and waits for a lock, which is let go of when the cancel has come."""
    answers = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(TIMES):
            render = stage.create("Oak")
            until(Render.objects.filter(pk=render.pk, queue="gpu").exists, 30, "it is prepared")
            with stage.locked("accounts_usageentry", f"render_id = '{render.pk}'"):
                until(lambda: _waits_for_lock(stage), 60, "it is billed")
                cancel = pool.submit(stage.cancel, "Oak", render)
                time.sleep(0.5)
            answers.append((cancel.result(), finished(render).state))
    both = sum(answer != (409, State.FINISHED) for answer in answers)
    return [exactly("F12", f"canceled during finish, {TIMES} times: not 409 and finished and billed", both, wanted=0)]


def _waits_for_lock(stage: Stage) -> bool:
    with stage.database.connect() as connection:
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE \"accounts_usage%'"
        return bool(connection.execute(query).fetchall())
