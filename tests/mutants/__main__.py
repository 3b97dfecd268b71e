"""`make mutants`: changes the meaning of modules about money, loss and access, and lists what no test notices."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import changes, coverage_map, tree, trial
from tests.mutants.changes import Change
from tests.mutants.trial import Outcome

MODULES = [
    "accounts/billing/quota.py",
    "accounts/billing/reports.py",
    "accounts/api/request_rates.py",
    "accounts/api/idempotency.py",
    "accounts/api_keys/keys.py",
    "accounts/api_keys/authentication.py",
    "accounts/api_keys/delegation.py",
    "accounts/api_keys/permissions.py",
    "projects/services.py",
    "projects/retention/policy.py",
    "projects/retention/project_deletion.py",
    "projects/webhooks/delivery.py",
    "projects/webhooks/outbox.py",
    "projects/webhooks/sender.py",
    "render/fence.py",
    "render/lifecycle/lease.py",
    "render/lifecycle/progress.py",
    "render/lifecycle/reaper.py",
    "render/lifecycle/retries.py",
    "render/lifecycle/transitions.py",
]
WANTED_PERCENT = 95


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=100, help="how many changes are drawn")
    parser.add_argument("--jobs", type=int, default=1, help="how many are tried at a time")
    parser.add_argument("--modules", nargs="+", default=MODULES, help="of which modules")
    parser.add_argument("--list", action="store_true", help="only show what is drawn")
    options = parser.parse_args()
    missing = [module for module in options.modules if not (tree.ROOT / module).exists()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    drawn = list(changes.draw(tree.ROOT, options.modules, options.number, options.seed))
    if options.list:
        for change in drawn:
            print(_described(change))
        return 0
    return _try_all(drawn, options.modules, options.jobs)


def _try_all(drawn: Sequence[Change], modules: Sequence[str], jobs: int) -> int:
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that folders and the database server go, too.
    with tree.copy() as root, tree.databases(root) as databases:
        known = coverage_map.load(root, databases, MODULES if set(modules) <= set(MODULES) else modules, jobs)
        for name in known.failed:
            print(f"Left out, because it fails without any change: {name}")
        recorded = time.monotonic()
        trial.load_libraries()
        workers = [_start(root, databases, known, drawn, worker, jobs) for worker in range(jobs)]
        outcomes: dict[int, Outcome] = {}
        for child, results in workers:
            _, status = os.waitpid(child, 0)
            if status:
                raise SystemExit("A worker has ended early.")
            for line in results.read_text().splitlines():
                number, outcome = json.loads(line)
                outcomes[number] = Outcome(**outcome)
    return _report(drawn, outcomes, recorded - begun, time.monotonic() - recorded)


def _start(
    root: Path,
    databases: tree.Databases,
    known: coverage_map.CoverageMap,
    drawn: Sequence[Change],
    worker: int,
    jobs: int,
) -> tuple[int, Path]:
    """A worker with a tree of its own, which tries each `jobs`th change; its process and what it will have written."""
    results = root / f"results-{worker}.jsonl"
    child = os.fork()
    if child:
        return child, results
    try:
        with tree.copy() as own, results.open("w") as file:
            for number in range(worker, len(drawn), jobs):
                change = drawn[number]
                tests = known.tests_of(change, (tree.ROOT / change.path).read_text())
                outcome = trial.try_change(own, databases, worker, change, tests)
                print(json.dumps([number, vars(outcome)]), file=file, flush=True)
                end = f"hangs in {outcome.noticed_by}" if outcome.hung else outcome.noticed_by or "NOT NOTICED"
                print(f"{number + 1:3} {change.path}:{change.lines[0]} {change.kind}: {end} ({outcome.seconds:.1f} s)")
                sys.stdout.flush()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def _report(drawn: Sequence[Change], outcomes: dict[int, Outcome], recording: float, trying: float) -> int:
    survivors = [change for number, change in enumerate(drawn) if not outcomes[number].noticed_by]
    hung = sum(outcome.hung for outcome in outcomes.values())
    for change in survivors:
        print(f"\nNot noticed: {_described(change)}")
    percent = 100 * (len(drawn) - len(survivors)) / len(drawn)
    noticed = len(drawn) - len(survivors)
    print(
        f"\n{noticed} of {len(drawn)} changes were noticed ({percent:.0f} %), {hung} of them by a hang. "
        f"{trying:.0f} s, {trying / len(drawn):.1f} s a change, after {recording:.0f} s to get ready."
    )
    return 0 if percent >= WANTED_PERCENT else 1


def _described(change: Change) -> str:
    lines = change.diff((tree.ROOT / change.path).read_text())
    return "\n    ".join([f"{change.path}:{change.lines[0]}, {change.kind}", *lines])


if __name__ == "__main__":
    sys.exit(main())
