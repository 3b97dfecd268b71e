"""`python -m infinitetalk` in processes that begin with everything imported: it takes seconds in each that does not."""

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from infinitetalk.__main__ import main

# One process imports these and is forked; those of torch.multiprocessing are forked from it, too.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["infinitetalk.server.command", "tests.infinitetalk.model.test_sequence_parallel"])


def start(arguments: list[str], said: Path, **environment: str) -> BaseProcess:
    """said: a file for what it writes to its standard error."""
    process = CONTEXT.Process(target=_run, args=(arguments, said, environment))
    process.start()
    return process


def _run(arguments: list[str], said: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with said.open("w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.exit(main(arguments))
