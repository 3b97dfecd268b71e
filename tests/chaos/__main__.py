"""The fault campaign, on a database and in folders of its own. See docs/reliability.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import django

SEEDS = range(1, 6)
RESULTS = Path("var/chaos")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    campaign = kinds.add_parser("campaign", help="hundreds of renders under random faults")
    campaign.add_argument("--seed", type=int, default=1)
    campaign.add_argument("--renders", type=int, default=200)
    campaign.add_argument("--mutation", default="", help="what is taken away, see tests/chaos/mutations.py")
    trial = kinds.add_parser("trial", help="one fault at a chosen moment, many times")
    trial.add_argument("name", help="see tests/chaos/trials/trial.py")
    for kind in (campaign, trial):
        kind.add_argument("--json", type=Path, help="where the figures go")
    kinds.add_parser("all", help="five campaigns, the mutations and every trial; writes docs/reliability.md")
    options = parser.parse_args()
    if options.kind == "all":
        return run_all()
    with _database_and_folder(getattr(options, "mutation", "")) as folder:
        return run_campaign(folder, options) if options.kind == "campaign" else run_trial(folder, options)


def run_campaign(folder: Path, options: argparse.Namespace) -> int:
    from tests.chaos import campaign
    from tests.chaos.results import verdict
    from tests.chaos.stage import stage

    with stage(folder, mutation=options.mutation) as play:
        story = campaign.play(play, seed=options.seed, renders=options.renders)
        summary = verdict.summary(play, story)
        findings = verdict.findings(play, story, renders=options.renders)
    print(*findings, json.dumps(summary), sep="\n")
    _keep(options.json, {**summary, "mutation": options.mutation, "findings": findings})
    return _told(folder, failed=bool(findings))


def run_trial(folder: Path, options: argparse.Namespace) -> int:
    from tests.chaos.stage import stage
    from tests.chaos.trials import trial as trials

    trial = trials.TRIALS[options.name]
    passed = False
    try:
        with stage(folder, **trial.stage()) as play:
            figures = trials.run(trial, play)
        for figure in figures:
            print(
                f"{figure.test} {figure.what}: {figure.measured} ({figure.bound}){'' if figure.passed else ' MISSED'}"
            )
        _keep(options.json, [asdict(figure) for figure in figures])
        passed = all(figure.passed for figure in figures)
    finally:
        status = _told(folder, failed=not passed)
    return status


def run_all() -> int:
    with _database_and_folder(""):  # Their modules need Django.
        from tests.chaos import mutations
        from tests.chaos.results import report
        from tests.chaos.trials.trial import TRIALS
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    failed = [f"seed {seed}" for seed in SEEDS if _run(f"seed-{seed}", "campaign", f"--seed={seed}")]
    # The campaign has to notice each of them.
    failed += [name for name in mutations.ALL if not _run(f"mutation-{name}", "campaign", f"--mutation={name}")]
    failed += [name for name in TRIALS if _run(f"trial-{name}", "trial", name)]
    report.write(RESULTS)
    print(f"failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


def _run(result: str, *arguments: str) -> int:
    command = [sys.executable, "-m", "tests.chaos", *arguments, f"--json={RESULTS / result}.json"]
    with (RESULTS / f"{result}.log").open("wb") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    print(f"{result}: {status}", flush=True)
    return status


@contextmanager
def _database_and_folder(mutation: str) -> Iterator[Path]:
    """Django is set up for a fresh database in a new folder, which is given."""
    with tempfile.TemporaryDirectory(prefix="creatorify-chaos-", ignore_cleanup_errors=True) as name:
        from creatorify.config import embedded_postgres

        folder = Path(name)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": embedded_postgres.start_or_find(folder / "postgres"),
            "CHAOS_HISTORY": str(folder / "history"),
            "VAR_DIR": str(folder / "var"),
        }
        (folder / "history").touch()
        django.setup()
        from django.core.management import call_command
        from django.db import connection

        from tests.chaos import mutations

        call_command("migrate", verbosity=0)
        if mutation in mutations.IN_DATABASE:
            with connection.cursor() as cursor:
                cursor.execute(mutations.IN_DATABASE[mutation])
        yield folder


def _keep(path: Path | None, result: object) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")


def _told(folder: Path, *, failed: bool) -> int:
    if failed:
        left = Path(tempfile.mkdtemp(prefix="creatorify-chaos-logs-"))
        shutil.copytree(folder / "logs", left, dirs_exist_ok=True)
        print(f"The logs are in {left}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
