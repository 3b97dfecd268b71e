"""A pytest plugin that notes which test runs which lines of `MUTANTS_MODULES`, in the file `MUTANTS_RECORD`.

In this process only: what a test starts in others is not seen.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

ROOT = Path.cwd()
MODULES = os.environ["MUTANTS_MODULES"].split()
_coverage = coverage.Coverage(
    data_file=None, config_file=False, include=[str(ROOT / module) for module in MODULES], messages=False
)
_coverage.start()
_seconds: dict[str, float] = defaultdict(float)
_failed: set[str] = set()
_transactional: set[str] = set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _coverage.switch_context(item.nodeid)
    marker = item.get_closest_marker("django_db")
    if marker is not None and marker.kwargs.get("transaction"):
        _transactional.add(item.nodeid)
    result = yield
    _coverage.switch_context("")
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # The first test of all makes the database, and that of a file what all of it share.
    _seconds[report.nodeid] += min(report.duration, 2) if report.when == "setup" else report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    _coverage.stop()
    data = _coverage.get_data()
    lines: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for name in data.measured_files():
        module = str(Path(name).relative_to(ROOT))
        for line, tests in data.contexts_by_lineno(name).items():
            for test in tests:
                if test:
                    lines[test].setdefault(module, []).append(line)
    known = {
        test: {
            "seconds": round(seconds, 2),
            "transactional": test in _transactional,
            "failed": test in _failed,
            "lines": lines.get(test, {}),
        }
        for test, seconds in _seconds.items()
    }
    Path(os.environ["MUTANTS_RECORD"]).write_text(json.dumps(known))
