"""F7: the database is gone at once, for a while, with work in everybody's hands."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
from django.db import connection

from render.models import Attempt, Phase, Render, State
from tests.chaos.results.figures import Figure, exactly, times
from tests.chaos.stage import Stage, until
from tests.chaos.trials.deaths import LONG_FRAMES, at_segment

OUTAGES = (3.0, 30.0, 60.0)  # seconds


def outages(stage: Stage) -> list[Figure]:
    figures = []
    for seconds in OUTAGES:
        lost, added, waits = 0, 0, []
        for crash in (_while_idle, _while_at_work):
            renders = crash(stage, seconds)
            back = time.monotonic()
            own = Render.objects.filter(pk__in=[render.pk for render in renders])
            with suppress(TimeoutError):
                until(lambda own=own: not own.exclude(state=State.FINISHED).exists(), 90, "all are finished")
            waits.append(time.monotonic() - back)
            lost += own.exclude(state=State.FINISHED).count()
            added += Attempt.objects.filter(render__in=own, outcome=Attempt.Outcome.LEASE_LOST).count()
        what = f"the database is gone for {seconds:g} s while nothing happens, in mid-segment, in finish and in submit"
        figures += [
            exactly("F7", f"{what}: renders lost", lost, wanted=0),
            exactly("F7", "attempts that this added", added, wanted=0),
            times("F7", "from its return until all of them are finished", waits, at_most=60),
        ]
    return figures


def _while_idle(stage: Stage, seconds: float) -> list[Render]:
    name = stage.tenant(f"Idle {seconds:g}").name
    time.sleep(2)
    crash(stage, seconds)
    return [stage.create(name)]


def _while_at_work(stage: Stage, seconds: float) -> list[Render]:
    """One in mid-segment; one whose bill waits for a lock, in the finishing transaction; one whose submit does."""
    tenants = [stage.tenant(f"{what} {seconds:g}") for what in ("Rendering", "Finishing", "Submitting")]
    rendering, finishing, submitting = (tenant.name for tenant in tenants)
    last = stage.create(finishing)
    until(Render.objects.filter(pk=last.pk, queue="gpu").exists, 20, "it is prepared")
    with ThreadPoolExecutor(1) as pool, stage.locked("accounts_usageentry", f"render_id = '{last.pk}'"):
        at_phase(last, Phase.UPLOADING)
        long = stage.create(rendering, frames=LONG_FRAMES)
        at_segment(long, 5)
        with stage.locked("accounts_tenant", f"id = '{tenants[2].pk}'"):
            submit = pool.submit(_submit, stage, submitting)
            time.sleep(1)  # It waits for the lock now.
            assert not submit.done()
            crash(stage, seconds)
        return [last, long, Render.objects.get(take__project=submit.result())]


def _submit(stage: Stage, tenant: str) -> str:
    """With an idempotency key, until it is answered."""
    while True:
        try:
            answer = stage.clients[tenant].post(
                "/projects", json=stage.body(), headers={"Idempotency-Key": "only-once"}
            )
            if answer.status_code < 500:
                assert answer.status_code in (201, 409), answer.text
            if answer.status_code == 201:
                project_id: str = answer.json()["id"]
                return project_id
        except httpx.HTTPError:
            pass
        time.sleep(0.5)


def crash(stage: Stage, seconds: float) -> None:
    stage.database.crash(seconds)
    connection.close()


def at_phase(render: Render, phase: Phase) -> None:
    until(Render.objects.filter(pk=render.pk, phase=phase).exists, 60, f"{phase}")
