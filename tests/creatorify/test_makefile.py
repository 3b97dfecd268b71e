"""What the Makefile does before any of our code runs. In a folder of its own, with a stub instead of Python's venv."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import ROOT

PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"
echo venv >> made
until [ -e go ]; do sleep 0.05; done
mkdir -p .venv/bin && ln -s /bin/true .venv/bin/python
"""

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = ["make", "--no-print-directory", "PYTHON=./python", "INSTALL=true", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, *runs: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert all(run.poll() is None for run in runs) and time.monotonic() < deadline
        time.sleep(0.02)


def is_at_the_lock(run: subprocess.Popen[str]) -> bool:
    return any("flock" in " ".join(child.cmdline()) for child in psutil.Process(run.pid).children())


def test_of_two_first_starts_one_waits_for_the_environment(folder: Path) -> None:
    first = make(folder, "demo")
    wait_for((folder / "made").exists, first)
    second = make(folder, "demo")
    wait_for(lambda: is_at_the_lock(second), first, second)
    (folder / "go").touch()

    for run in (first, second):
        said, _ = run.communicate(timeout=60)
        assert run.returncode == 0, said
    assert (folder / "made").read_text() == "venv\n"


def test_alone_it_prints_every_target(folder: Path) -> None:
    printed, _ = make(folder).communicate(timeout=60)

    [phony] = [line for line in (folder / "Makefile").read_text().splitlines() if line.startswith(".PHONY: ")]
    texts = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert texts.keys() == set(phony.split()[1:])
    assert all(text.endswith(".") for text in texts.values())
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["demo"], "manage.py demo"),
        (["demo", "KEEP=0"], "manage.py demo"),
        (["demo", "KEEP=1", "PORT=8010"], 'manage.py demo --keep --port "8010"'),
        (["demo", "PORTRAIT=a b.jpg", "SPEECH=c.wav"], 'manage.py demo --portrait "a b.jpg" --speech "c.wav"'),
        (["dev"], "manage.py dev"),
        (["dev", "PORT=8010"], 'manage.py dev --port "8010"'),
        (["test"], "-m pytest -n 2 --dist loadfile --no-loadscope-reorder"),
        (["test", "T=tests/x.py::test_y[a b]"], '-m pytest "tests/x.py::test_y[a b]"'),
        (["faults", "T=tests/x.py"], '-m pytest -m slow "tests/x.py"'),
    ],
)
def test_the_arguments_of_a_target(folder: Path, arguments: list[str], command: str) -> None:
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".demo").touch()
    (folder / ".venv" / ".dev").touch()

    printed, _ = make(folder, "--dry-run", *arguments).communicate(timeout=60)

    assert " ".join(printed.replace("\\\n", "").split()) == f".venv/bin/python {command}"


def test_a_python_that_is_too_old_is_told(folder: Path) -> None:
    old = "import sys; sys.version_info = (3, 10, 1); exec(sys.argv.pop(1))"
    (folder / "python").write_text(f"#!/bin/sh\nshift\nexec {sys.executable} -c '{old}' \"$@\"\n")

    run = make(folder, "demo")
    said, _ = run.communicate(timeout=60)

    assert run.returncode != 0
    assert "Python 3.11 or newer is needed, and ./python is 3.10: make PYTHON=python3.11" in said
    assert "venv" not in said.splitlines()[0]
