"""`manage.py demo` as a process, with a folder of its own for all that it writes; nothing of it may be left running."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import ROOT
from tests.stack import until


@pytest.fixture
def var() -> Iterator[Path]:
    """Not in pytest's own folder, which only root may enter: the database that root starts runs as another user."""
    with tempfile.TemporaryDirectory(prefix="creatorify-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        with contextlib.suppress(AssertionError):
            until(lambda: left_of(folder) == [], seconds=2)  # What was killed takes a moment.
        assert left_of(folder) == []


def left_of(var: Path) -> list[str]:
    """The processes of this demo: all have its VAR_DIR in their environment."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.environ().get("VAR_DIR", "").startswith(str(var)):
                found.append(process.info["name"])
        except psutil.Error:
            continue
    return found


def start(var: Path, *options: str, mount: str = "true") -> subprocess.Popen[str]:
    """mount: a command of the shell, in a mount namespace of its own where it is given."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "SECRET_KEY")}
    environment |= {"VAR_DIR": str(var), "DJANGO_SETTINGS_MODULE": "creatorify.settings"}
    demo = " ".join(["exec", sys.executable, "manage.py", "demo", "--port=8431", *options])
    namespace = [] if mount == "true" else ["unshare", "-m"]
    return subprocess.Popen(
        [*namespace, "sh", "-c", f"{mount} && {demo}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A test run in the background of a shell ignores it, and would hand this on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
