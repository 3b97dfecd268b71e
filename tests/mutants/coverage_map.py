"""What each test runs, recorded once and kept under var/ until something that it depends on has changed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import tree
from tests.mutants.changes import Change

FOLDERS = ("tests/accounts", "tests/projects", "tests/render", "tests/creatorify")
CACHE = tree.ROOT / "var" / "mutants"


@dataclass(frozen=True)
class Test:
    name: str  # pytest's node id
    seconds: float
    transactional: bool
    failed: bool
    lines: dict[str, list[int]]  # of each module

    @property
    def file(self) -> str:
        return self.name.partition("::")[0]

    def cost(self, module: str) -> float:
        """The fastest first. Who runs few lines, or is in a file with a name or a place like the module's, looks closer
        at it."""
        words = [word.rstrip("s") for word in Path(module).stem.split("_")]
        is_about = any(word in Path(self.file).stem for word in words)
        is_near = self.file.startswith(f"tests/{Path(module).parts[0]}/")
        return self.seconds * (20 + sum(map(len, self.lines.values()))) / (4 if is_about else 2 if is_near else 1)


class CoverageMap:
    def __init__(self, tests: Sequence[Test]) -> None:
        self.tests = [test for test in tests if not test.failed]
        self.failed = [test.name for test in tests if test.failed]

    def tests_of(self, change: Change, source: str) -> list[Test]:
        """Those that run what is changed, the most promising first."""
        runs: list[Test] = []
        if change.in_function:
            first, last = change.shown_in
            for test in self.tests:
                if any(first <= line <= last for line in test.lines.get(change.path, ())):
                    runs.append(test)
            return sorted(runs, key=lambda test: test.cost(change.path))
        # A constant of the module: first who runs a line that names it, then who runs anything of the module.
        named = {number for number, line in enumerate(source.splitlines(), 1) if change.name and change.name in line}
        runs = [test for test in self.tests if test.lines.get(change.path)]
        return sorted(
            runs,
            key=lambda test: (not named & set(test.lines[change.path]), test.cost(change.path)),
        )


def load(root: Path, databases: tree.Databases, modules: Sequence[str], jobs: int) -> CoverageMap:
    """Of the tree at root; records what is not known yet."""
    listed = tree.files()
    files = [path for path in listed if path.name.startswith("test_") and str(path).startswith(FOLDERS)]
    shared = [
        path
        for path in listed
        if path.suffix == ".py"
        and (path.parts[0] in ("accounts", "projects", "render", "creatorify") or path.parts[0] == "tests")
        and not path.name.startswith("test_")
        and path.parts[:2] != ("tests", "mutants")
    ]
    key = tree.digest(shared, *modules)
    CACHE.mkdir(parents=True, exist_ok=True)
    places = {path: CACHE / f"{key}-{tree.digest([path])}.json" for path in files}
    missing = [path for path, place in places.items() if not place.exists()]
    if missing:
        print(f"Recording which test runs which line, of {len(missing)} files", flush=True)
        _record(root, databases, modules, missing, places, jobs)
    tests: list[Test] = []
    for place in places.values():
        if place.exists():
            place.touch()
            tests += [Test(name, **known) for name, known in json.loads(place.read_text()).items()]
    for old in sorted(CACHE.glob("*.json"), key=lambda path: path.stat().st_mtime)[: -3 * len(files)]:
        old.unlink()
    return CoverageMap(tests)


def _record(
    root: Path,
    databases: tree.Databases,
    modules: Sequence[str],
    files: Sequence[Path],
    places: dict[Path, Path],
    jobs: int,
) -> None:
    running = []
    for job in range(min(jobs, len(files))):
        part = [str(path) for path in files[job::jobs]]
        record = root / f"record-{job}.json"
        environment = tree.environment(root, databases.fresh(f"record_{job}")) | {
            "MUTANTS_RECORD": str(record),
            "MUTANTS_MODULES": " ".join(modules),
            "PYTEST_XDIST_WORKER": f"gw{job}",  # Names what belongs to the server and not to a database.
        }
        del environment["PYTHONDONTWRITEBYTECODE"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "tests.mutants.recorder", *part]
        running.append((subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL), record))
    try:
        for process, _ in running:
            process.wait()
    finally:
        for process, _ in running:
            process.terminate()
    for _, record in running:
        if not record.exists():
            raise SystemExit("The tests could not be run; `make test` tells why.")
        by_file: dict[str, dict[str, object]] = {}
        for name, known in json.loads(record.read_text()).items():
            by_file.setdefault(name.partition("::")[0], {})[name] = known
        for file, known in by_file.items():
            place = places[Path(file)]
            new = place.with_suffix(".new")
            new.write_text(json.dumps(known))
            os.replace(new, place)
