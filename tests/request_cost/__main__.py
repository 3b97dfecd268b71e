"""Prints what each subject costs: `python -m tests.request_cost`, with --verbose each hop and each statement, too."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.conf import settings

from tests.request_cost.subjects import costs
from tests.stack import scratch_database

SHARED_SECONDS = 3600.0  # One snapshot of the queues serves all; in the service it serves the polls of one second.


def main() -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.ESTIMATE_SECONDS = SHARED_SECONDS
    with scratch_database():
        for name, cost in costs():
            hops, files, statements = len(cost.hops), len(cost.files), len(cost.statements)
            print(f"{name}: {hops} hops ({cost.calls} calls), {files} files, {statements} statements")
            if "--verbose" in sys.argv:
                lines = [f"{caller} -> {callee}: {function}" for (caller, callee), function in cost.hops.items()]
                print(*(f"    {line}" for line in [*lines, *cost.statements]), sep="\n")


if __name__ == "__main__":
    main()
