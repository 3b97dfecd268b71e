"""Prints what each subject costs: `python -m tests.request_cost`, with --verbose each hop and each statement, too."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.conf import settings

from tests.request_cost.subjects import costs
from tests.stack import scratch_database

SHARED_SECONDS = 3600.0  # that one look at the queues serves all; the service's is a second, which many polls share


def main() -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.ESTIMATE_SECONDS = SHARED_SECONDS
    with scratch_database():
        for name, cost in costs():
            print(f"{name}: {len(cost.hops)} hops, {len(cost.files)} files, {len(cost.statements)} statements")
            if "--verbose" in sys.argv:
                print(*(f"    {line}" for line in [*cost.hops, *cost.statements]), sep="\n")


if __name__ == "__main__":
    main()
