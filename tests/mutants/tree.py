"""A copy of the working tree, in which modules are changed, and databases for what runs there."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import psycopg

from creatorify.config.embedded_postgres import PostgresServer, get_server
from tests import ROOT

TEMPLATE = "mutants"


def files() -> list[Path]:
    """Relative paths of all that git tracks, or would: what is changed but not committed counts."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return sorted(path for name in listed.stdout.split("\0") if name and (ROOT / (path := Path(name))).is_file())


def digest(paths: list[Path], *names: str) -> str:
    whole = hashlib.sha256("\0".join(names).encode())
    for path in paths:
        whole.update(f"{path}\0".encode() + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return whole.hexdigest()[:20]


@contextmanager
def copy() -> Iterator[Path]:
    """The copy's root. Compiled already, and never again: two programs of one size in one second have equal caches."""
    root = Path(mkdtemp(prefix="mutants-"))
    root.chmod(0o755)  # The embedded Postgres runs as another user than root.
    try:
        for path in files():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, root / path)
        packages = ["accounts", "projects", "render", "creatorify", "infinitetalk"]
        subprocess.run([sys.executable, "-m", "compileall", "-q", *packages], cwd=root, check=True)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def environment(root: Path, database_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url,
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Databases:
    """Of a server of their own. Each change gets a fresh one, made from one that has been migrated."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def fresh(self, name: str, *, template: str = TEMPLATE) -> str:
        """Its URL; whatever is connected to the one before it is thrown out."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        with psycopg.connect(self._server.get_uri()) as connection:
            info = connection.info
            return f"postgresql://{info.user}@{quote(info.host, safe='')}:{info.port}/{name}"

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@contextmanager
def databases(root: Path) -> Iterator[Databases]:
    """root: of a tree whose migrations the databases have."""
    folder = Path(mkdtemp(prefix="mutants-db-"))
    folder.chmod(0o755)
    server = get_server(folder / "postgres")
    try:
        made = Databases(server)
        url = made.fresh(TEMPLATE, template="template0")
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=root, env=environment(root, url)
        )
        if done.returncode:
            raise SystemExit("The migrations fail, so nothing can be tried.")
        yield made
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
