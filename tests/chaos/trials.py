"""Every trial by its name: what it does, and how the stage differs for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from creatorify.operations import invariants
from tests.chaos import trials_cancel, trials_database, trials_deaths, trials_queue
from tests.chaos.figures import Figure, exactly
from tests.chaos.stage import Stage


@dataclass(frozen=True)
class Trial:
    run: Callable[[Stage], list[Figure]]
    stage: Callable[[], dict[str, Any]] = field(default=dict)


TRIALS = {
    "killed_workers": Trial(trials_deaths.killed_workers),
    "lost_node": Trial(trials_deaths.lost_node),
    "killed_idle_workers": Trial(trials_deaths.killed_idle_workers),
    "orphans": Trial(trials_deaths.orphans),
    "frozen_workers": Trial(trials_deaths.frozen_workers),
    "terminations": Trial(trials_deaths.terminations),
    "outages": Trial(trials_database.outages),
    "tickets": Trial(trials_queue.tickets),
    "bad_renders": Trial(trials_queue.bad_renders),
    "flood": Trial(trials_queue.flood),
    "drains": Trial(trials_queue.drains),
    "wrong_clock": Trial(trials_queue.wrong_clock, lambda: {"node_prefixes": trials_queue.clock_prefixes()}),
    "cancels": Trial(trials_cancel.cancels, lambda: trials_cancel.PRODUCTION),
}


def run(trial: Trial, stage: Stage) -> list[Figure]:
    figures = trial.run(stage)
    broken = sum(len(finding.violations) for finding in invariants.check())
    return [*figures, exactly(figures[0].test, "violations of invariants afterwards", broken, wanted=0)]
