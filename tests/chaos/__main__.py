"""The fault campaign, on a database and in folders of its own: `python -m tests.chaos --seed 1 --renders 200`.

With --mutation, what the service relies on is taken away, and the campaign has to fail.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import django

logger = logging.getLogger("chaos")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--renders", type=int, default=200)
    parser.add_argument("--mutation", default="", help="see tests/chaos/mutations.py")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="creatorify-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _set_up(folder, options.mutation)
        return _play(folder, options)


def _set_up(folder: Path, mutation: str) -> None:
    from creatorify import embedded_postgres

    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
        "DATABASE_URL": embedded_postgres.start_or_find(folder / "postgres"),
        "CHAOS_HISTORY": str(folder / "history"),
        "VAR_DIR": str(folder / "var"),
        "LOG_LEVEL": "INFO",
    }
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from tests.chaos import mutations

    call_command("migrate", verbosity=0)
    if mutation in mutations.IN_DATABASE:
        with connection.cursor() as cursor:
            cursor.execute(mutations.IN_DATABASE[mutation])


def _play(folder: Path, options: argparse.Namespace) -> int:
    from tests.chaos import campaign, verdict
    from tests.chaos.stage import stage

    with stage(folder, mutation=options.mutation) as play:
        story = campaign.play(play, seed=options.seed, renders=options.renders)
        summary = verdict.summary(play, story)
        findings = verdict.findings(play, story, renders=options.renders)
    for finding in findings:
        print(finding)
    print(json.dumps(summary))
    if options.json:
        options.json.write_text(json.dumps({**summary, "mutation": options.mutation, "findings": findings}) + "\n")
    if findings:
        left = Path(tempfile.mkdtemp(prefix="creatorify-chaos-logs-"))
        shutil.copytree(folder / "logs", left, dirs_exist_ok=True)
        print(f"{len(findings)} findings; the logs are in {left}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
