"""Runs tests on a changed module, in a fork of a process that has loaded the libraries already."""

import contextlib
import importlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import tree
from tests.mutants.changes import Change
from tests.mutants.coverage_map import Test

# Loaded once, before the forks; they import nothing of ours.
LIBRARIES = (
    "numpy", "av", "cv2", "PIL.Image", "PIL.ImageDraw", "httpx", "psycopg", "psycopg_pool", "django.test", "trustme",
    "django.contrib.admin.options", "django.db.models.sql.compiler", "django.core.management", "django.template.base",
    "django.contrib.postgres.fields", "django.forms", "django.views.generic", "jsonschema", "yaml", "cloudinary",
    "django.db.backends.postgresql.base", "standardwebhooks.webhooks", "tenacity", "requests", "msgpack", "xml.dom",
)  # fmt: skip
OURS = ("accounts", "projects", "render", "creatorify", "infinitetalk", "tests")
# How many tests are tried in one go: nearly all changes are noticed by the first, and whole files take long to collect.
PORTIONS = (12, 60)


@dataclass(frozen=True)
class Outcome:
    noticed_by: str  # the test that failed first; nothing if none has
    hung: bool
    tried: int
    seconds: float


def load_libraries() -> None:
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


class _Plugin:
    """Runs the wanted tests in the wanted order, each with a limit of its own, and notes the first that fails."""

    def __init__(self, tests: Sequence[Test]) -> None:
        self._order = {test.name: place for place, test in enumerate(tests)}
        self._limits = {test.name: 20 + 5 * test.seconds for test in tests}
        self.failed, self.hung, self.tried = "", False, 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]):  # type: ignore[no-untyped-def]
        yield
        wanted = {item.nodeid: item for item in items if item.nodeid in self._order}
        # Tests with a transaction of their own first: the others empty the tables.
        transactional = {
            name for name, item in wanted.items() if (mark := item.get_closest_marker("django_db")) and mark.kwargs
        }
        names = sorted(wanted, key=lambda name: (name in transactional, self._order[name]))
        items[:] = [wanted[name] for name in names]
        for item in items:
            item.add_marker(pytest.mark.timeout(self._limits[item.nodeid]))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tried += report.when == "call"
        if report.failed and not self.failed:
            self.failed, self.hung = report.nodeid, "Timeout (>" in report.longreprtext


def try_change(root: Path, databases: tree.Databases, worker: int, change: Change, tests: Sequence[Test]) -> Outcome:
    """The tests until one fails, on a tree with the change."""
    begun = time.monotonic()
    path = root / change.path
    source = path.read_text()
    caches = list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    kept = [(cache, cache.read_bytes(), cache.stat()) for cache in caches]
    tried = 0
    try:
        path.write_text(change.apply(source))
        for cache in caches:
            cache.unlink()
        start = 0
        for size in (*PORTIONS, len(tests)):
            portion = tests[start : start + size]
            start += size
            if not portion:
                break
            outcome = _run(root, databases, worker, portion)
            tried += outcome.tried
            if outcome.noticed_by:
                return Outcome(outcome.noticed_by, outcome.hung, tried, time.monotonic() - begun)
        return Outcome("", False, tried, time.monotonic() - begun)
    finally:
        path.write_text(source)
        for cache, content, stat in kept:
            cache.write_bytes(content)
            os.utime(path, (stat.st_atime, stat.st_mtime))


def _run(root: Path, databases: tree.Databases, worker: int, tests: Sequence[Test]) -> Outcome:
    environment = tree.environment(root, databases.fresh(f"trial_{worker}"))
    report, log = root / f"outcome-{worker}.json", root / f"log-{worker}.txt"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            _in_child(root, environment, worker, tests, report, log)
        finally:
            os._exit(1)
    limit = time.monotonic() + 60 + 3 * sum(test.seconds for test in tests)
    while True:
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > limit:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # with whatever it has started
    if not ended:
        os.waitpid(child, 0)
        running = re.findall(r"^RUNNING (.*)$", log.read_text(errors="replace"), re.MULTILINE)
        return Outcome(running[-1] if running else tests[0].file, True, len(running), 0)
    if not report.exists():
        raise SystemExit(f"A trial has ended without an outcome:\n{log.read_text(errors='replace')[-3000:]}")
    return Outcome(**json.loads(report.read_text()), seconds=0)


def _in_child(
    root: Path, environment: dict[str, str], worker: int, tests: Sequence[Test], report: Path, log: Path
) -> None:
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment, PYTEST_XDIST_WORKER=f"gw{worker}")
    os.chdir(root)
    sys.dont_write_bytecode = True
    sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(tree.ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    importlib.invalidate_caches()
    _use_prepared_database()
    plugin = _Plugin(tests)
    files = list(dict.fromkeys(test.file for test in tests))
    code = pytest.main(["-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", *files], plugins=[plugin])
    if code == pytest.ExitCode.TESTS_FAILED or plugin.failed:
        noticed = plugin.failed or tests[0].file
    elif code == pytest.ExitCode.OK:
        noticed = ""
    else:
        noticed = f"pytest itself ({code})"
    report.write_text(json.dumps({"noticed_by": noticed, "hung": plugin.hung, "tried": plugin.tried}))
    os._exit(0)


def _use_prepared_database() -> None:
    """The settings' database is fresh, migrated and ours alone: pytest-django need not make another."""
    from django.db.backends.base.creation import BaseDatabaseCreation

    def create(self: BaseDatabaseCreation, *arguments: object, **options: object) -> str:
        return str(self.connection.settings_dict["NAME"])

    BaseDatabaseCreation.create_test_db = create  # type: ignore[method-assign]
    BaseDatabaseCreation.destroy_test_db = lambda self, *arguments, **options: None  # type: ignore[method-assign]
