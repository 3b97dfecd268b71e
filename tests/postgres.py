"""Databases of their own in the embedded server, fresh or laid out as Supabase does, and PgBouncer in front of them."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import trustme
from django.db import connection
from psycopg import sql

from creatorify.config import database_roles
from creatorify.config.start import start_database
from tests import ROOT

# The server is everybody's: what belongs to it, and not to one database, is named after the test process.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw")
ADMINISTRATOR = f"administrator_{WORKER}"  # As Supabase's `postgres`: it may make roles, and is no superuser.
APP_ROLE, NODE, SCHEMA = f"creatorify_app_{WORKER}", f"node-{WORKER}", "creatorify"
PUBLIC_ROLES = ("anon", "authenticated")


@dataclass(frozen=True)
class Database:
    name: str

    def url(self, role: str | None = None) -> str:
        """Through the server's unix socket, where it asks for no password."""
        start_database()  # The embedded one is not there before: a test may use nothing but this.
        server = connection.settings_dict
        return f"postgresql://{role or server['USER']}@{quote(server['HOST'], safe='')}:{server['PORT']}/{self.name}"

    def run(self, statements: Iterable[sql.Composable | str], *, role: str | None = None) -> None:
        with psycopg.connect(self.url(role), autocommit=True) as session:
            for statement in statements:
                session.execute(sql.SQL(statement) if isinstance(statement, str) else statement)

    def rows(self, query: str, *, role: str | None = None) -> list[tuple]:
        with psycopg.connect(self.url(role), autocommit=True) as session:
            return session.execute(query).fetchall()

    def manage(self, *arguments: str, role: str | None = None, **environment: str) -> str:
        """What a manage.py command on this database says, on both its streams."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "DATABASE_URL": self.url(role),
                **environment,
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@contextmanager
def fresh_database(name: str, *, migrated: bool = False) -> Iterator[Database]:
    """An empty one, or one as `migrate` leaves it; dropped in the end."""
    database = Database(f"{name}_{WORKER}")
    identifier = sql.Identifier(database.name)
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier)
    server = Database("postgres")
    template = sql.Identifier(connection.settings_dict["TEST"]["TEMPLATE"] if migrated else "template1")
    server.run([drop, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(identifier, template)])
    try:
        yield database
    finally:
        server.run([drop])


@contextmanager
def connected_to(database: Database, *, role: str | None = None) -> Iterator[None]:
    """Django's connection in this thread leads to another database. Not within a test's transaction."""
    settings = connection.settings_dict
    own = {name: settings[name] for name in ("NAME", "USER")}
    connection.close()
    settings.update(NAME=database.name, USER=role or own["USER"])
    try:
        yield
    finally:
        connection.close()
        settings.update(own)


def break_connection() -> None:
    """What an outage of the server does to the connection of this thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    Database(connection.settings_dict["NAME"]).rows(f"SELECT pg_terminate_backend({pid})")


@contextmanager
def supabase_like() -> Iterator[Database]:
    """Supabase's public roles and what they may by default, and in it the service as docs/deploy.md sets it up."""
    with fresh_database("supabase") as database:
        for role in (APP_ROLE, database_roles.login_role(NODE), ADMINISTRATOR):
            database.run([sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role))])
        database.run(
            [
                f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE",
                # Of the whole server, and so of all test processes: the first one has made it.
                f"DO $$ BEGIN CREATE ROLE {database_roles.GPU_ROLE}; "
                "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
                f"GRANT {database_roles.GPU_ROLE} TO {ADMINISTRATOR} WITH ADMIN OPTION",
                f'GRANT CREATE ON DATABASE "{database.name}" TO {ADMINISTRATOR}',
            ]
        )
        for role in PUBLIC_ROLES:
            database.run(
                [
                    f"DO $$ BEGIN CREATE ROLE {role}; "
                    "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
                    f"GRANT USAGE ON SCHEMA public TO {role}",
                    f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {role}",
                ]
            )
        setup = database_roles.app_statements(role=APP_ROLE, password="app-secret", schema=SCHEMA)
        database.run(setup, role=ADMINISTRATOR)
        database.manage("migrate", "--verbosity=0", role=APP_ROLE)
        for_node = database_roles.gpu_statements(node=NODE, password="gpu-secret", app_role=APP_ROLE, schema=SCHEMA)
        database.run(for_node, role=ADMINISTRATOR)
        yield database


@dataclass(frozen=True)
class PgBouncer:
    port: int
    database: Database
    ca_file: Path | None

    def url(self, role: str) -> str:
        return f"postgresql://{role}:secret@localhost:{self.port}/{self.database.name}"


@contextmanager
def pgbouncer(
    folder: Path, database: Database, *, mode: str, roles: Iterable[str], tls: bool = False
) -> Iterator[PgBouncer]:
    """A real one, of Debian; skips the test where there is none. mode: `session` or `transaction`."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer here: apt-get install pgbouncer")
    server = connection.settings_dict
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # It refuses to run as root, and has to reach the server's socket, as the server itself does.
    owner = Path(server["HOST"]).owner() if os.geteuid() == 0 else getpass.getuser()
    home = Path("/tmp") / f"pgbouncer-{WORKER}-{port}"
    home.mkdir(mode=0o755)
    users = "".join(f'"{role}" "secret"\n' for role in roles)
    (home / "users.txt").write_text(users)
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "plain",
        "auth_file": home / "users.txt", "pool_mode": mode, "default_pool_size": 4 if mode == "transaction" else 40,
        "max_client_conn": 200, "logfile": home / "pgbouncer.log", "pidfile": home / "pgbouncer.pid",
    }  # fmt: skip
    ca_file = None
    if tls:
        authority = trustme.CA()
        ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(str(home / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(home / "cert.pem"))
        settings |= {
            "client_tls_sslmode": "require",
            "client_tls_key_file": home / "key.pem",
            "client_tls_cert_file": home / "cert.pem",
        }
    target = f"{database.name} = host={server['HOST']} port={server['PORT']} dbname={database.name}"
    lines = ["[databases]", target, "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
    (home / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    for path in (home, *home.iterdir()):
        shutil.chown(path, owner)
    process = subprocess.Popen([program, "-q", str(home / "pgbouncer.ini")], user=owner if os.geteuid() == 0 else None)
    try:
        _wait_until_it_listens(port)
        yield PgBouncer(port, database, ca_file)
    finally:
        process.terminate()
        process.wait()
        print((home / "pgbouncer.log").read_text()[-3000:])  # pytest shows it where a test fails
        shutil.rmtree(home)


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
