"""Every trial by its name: what it does, and how the stage differs for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from creatorify.operations import invariants
from tests.chaos.results.figures import Figure, exactly
from tests.chaos.stage import Stage
from tests.chaos.trials import cancel, database, deaths, queue


@dataclass(frozen=True)
class Trial:
    run: Callable[[Stage], list[Figure]]
    stage: Callable[[], dict[str, Any]] = field(default=dict)


TRIALS = {
    "killed_workers": Trial(deaths.killed_workers),
    "lost_node": Trial(deaths.lost_node),
    "killed_idle_workers": Trial(deaths.killed_idle_workers),
    "orphans": Trial(deaths.orphans),
    "frozen_workers": Trial(deaths.frozen_workers),
    "terminations": Trial(deaths.terminations),
    "outages": Trial(database.outages),
    "tickets": Trial(queue.tickets),
    "bad_renders": Trial(queue.bad_renders),
    "flood": Trial(queue.flood),
    "drains": Trial(queue.drains),
    "wrong_clock": Trial(queue.wrong_clock, lambda: {"node_prefixes": queue.clock_prefixes()}),
    "cancels": Trial(cancel.cancels, lambda: cancel.PRODUCTION),
}


def run(trial: Trial, stage: Stage) -> list[Figure]:
    figures = trial.run(stage)
    broken = sum(len(finding.violations) for finding in invariants.check())
    return [*figures, exactly(figures[0].test, "violations of invariants afterwards", broken, wanted=0)]
