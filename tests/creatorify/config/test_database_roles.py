"""Who can read what on a database laid out as Supabase's: the public's roles nothing, a GPU node little."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.core.checks import run_checks

from creatorify.config import database_roles
from tests.postgres import APP_ROLE, NODE, PUBLIC_ROLES, SCHEMA, Database, connected_to, supabase_like

GPU = database_roles.login_role(NODE)
MINE, THEIRS = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"

ROWS = f"""
    SET search_path = {SCHEMA};
    INSERT INTO accounts_plan (id, name, monthly_seconds, currency, max_concurrent, max_queued, max_audio_seconds,
        requests_per_minute, creates_per_minute, weight, prices, retention_days, max_stored_bytes)
    VALUES (1, 'P', 1, 'USD', 1, 1, 1, 1, 1, 1, '{{}}', 1, 1);
    INSERT INTO render_node (id, name, queue, model_state, gpu, memory_plan, draining)
    VALUES (1, '{NODE}', 'gpu', '', '', '', false), (2, 'another', 'gpu', '', '', '', false);
"""


def tenant(number: str, name: str, node: int) -> str:
    """A tenant with a key, a project, and a render that runs on a node."""
    return f"""
        SET search_path = {SCHEMA};
        INSERT INTO accounts_tenant (id, name, plan_id) VALUES ('{number}', '{name}', 1);
        INSERT INTO accounts_apikey (id, tenant_id, name, mode, prefix, digest, scopes, allowed_ips, legacy_200)
        VALUES ('{number}', '{number}', 'k', 'live', '{name}', 'digest', '{{}}', '{{}}', false);
        INSERT INTO render_render (id, tenant_id, engine, queue, image_url, audio_url, audio_url_2,
            audio_order, prompt, parameters, test_scenario, state, phase, progress, attempt, crashes, failures,
            lease_until, node_id, video_key, poster_key, error_code, error_message, error_param, error_trace)
        VALUES ('{number}', '{number}', 'e', 'gpu', '{name}', '', '', '', '{name}', '{{}}', '', 'running',
            'rendering', 0, 1, 0, 0, now(), {node}, '', '', '', '', '', '');
        INSERT INTO render_attempt (render_id, number, node_id, outcome, render_seconds)
        VALUES ('{number}', 1, {node}, '', 0);
        INSERT INTO render_segment (render_id, index, attempt, key, num_bytes, frames, state_key)
        VALUES ('{number}', 0, 1, '{name}', 1, 1, '');
        INSERT INTO accounts_usageentry (tenant_id, render_id, engine, resolution, user_label, is_test,
            reserved_seconds, price_micros, amount_micros, currency, gpu_seconds, cost_micros, reason)
        VALUES ('{number}', '{number}', 'e', '480p', '{name}', false, 5, 7, 35, 'USD', 0, 0, '');
        INSERT INTO projects_project (id, tenant_id, user_id, title, image_url, audio_url, audio_order, is_test,
            parameters, metadata, warnings)
        VALUES ('{number}', '{number}', 'u', '{name}', '', '', '', false, '{{}}', '{{}}', '[]');
        INSERT INTO projects_webhookendpoint (id, tenant_id, is_test, url, description, events, secret, previous_secret,
            disabled_reason)
        VALUES ('{number}', '{number}', false, 'https://x.example', '', '{{}}', 'secret', '', '');
        INSERT INTO projects_take (project_id, number, kind, render_id, imported_video_url)
        VALUES ('{number}', 1, 'draft', '{number}', '');
    """


@pytest.fixture(scope="module")
def database(django_db_setup, django_db_blocker) -> Iterator[Database]:
    with django_db_blocker.unblock(), supabase_like() as database:
        database.run([ROWS, tenant(MINE, "mine", 1), tenant(THEIRS, "theirs", 2)])
        yield database


def tables(database: Database) -> list[str]:
    query = f"SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'v', 'p')"
    return [name for (name,) in database.rows(query)]


@contextmanager
def session_of(database: Database, role: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.url(), autocommit=True) as session:
        session.execute(f'SET ROLE "{role}"')
        yield session


def refused(session: psycopg.Connection, query: str) -> bool:
    """For want of a privilege, or because a view can be changed by nobody."""
    try:
        session.execute(query)
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.WrongObjectType,
    ):
        return True
    return False


def test_all_tables_are_in_the_schema_of_their_own(database) -> None:
    assert {"accounts_apikey", "django_q_ormq", "auth_user", "django_session"} <= set(tables(database))
    assert database.rows("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


@pytest.mark.parametrize("role", PUBLIC_ROLES)
def test_the_public_can_do_nothing_to_any_table(database, role) -> None:
    with session_of(database, role) as session:
        for table in tables(database):
            for statement in ("SELECT * FROM {}", "DELETE FROM {}", "TRUNCATE {}", "INSERT INTO {} DEFAULT VALUES"):
                assert refused(session, statement.format(f"{SCHEMA}.{table}")), (statement, table)
        assert refused(session, f"CREATE TABLE {SCHEMA}.mine (x int)")


def test_a_node_can_read_and_change_nothing_else(database) -> None:
    allowed = {
        "render_render", "render_attempt", "render_segment", "render_node", "render_running_of_tenant",
        "accounts_tenant", "accounts_plan", "django_q_ormq",
    }  # fmt: skip
    with session_of(database, GPU) as session:
        for table in tables(database):
            assert refused(session, f"SELECT * FROM {SCHEMA}.{table}") != (table in allowed), table
            for statement in ("DELETE FROM {}", "TRUNCATE {}"):
                may = table == "django_q_ormq" and statement.startswith("DELETE")
                assert refused(session, statement.format(f"{SCHEMA}.{table}")) != may, (statement, table)


@pytest.mark.parametrize("columns", ["digest", "prefix", "tenant_id", "count(*)"])
def test_a_node_sees_no_key(database, columns) -> None:
    with session_of(database, GPU) as session:
        assert refused(session, f"SELECT {columns} FROM {SCHEMA}.accounts_apikey")


@pytest.mark.parametrize("columns", ["*", "secret", "url", "previous_secret"])
def test_a_node_sees_no_secret_of_a_webhook(database, columns) -> None:
    with session_of(database, GPU) as session:
        assert refused(session, f"SELECT {columns} FROM {SCHEMA}.projects_webhookendpoint")


@pytest.mark.parametrize("columns", ["*", "tenant_id", "user_label", "amount_micros", "api_key_id", "cost_micros"])
def test_a_node_sees_no_usage(database, columns) -> None:
    with session_of(database, GPU) as session:
        assert refused(session, f"SELECT {columns} FROM {SCHEMA}.accounts_usageentry")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("render_render", "id"),
        ("render_segment", "render_id"),
        ("render_attempt", "render_id"),
        ("accounts_tenant", "id"),
        ("accounts_usageentry", "render_id"),
        ("projects_take", "render_id"),
        ("projects_webhookendpoint", "id"),
        ("projects_project", "id"),
    ],
)
def test_of_a_tenant_a_node_sees_what_belongs_to_its_claim_only(database, table, column) -> None:
    seen = database.rows(f"SELECT {column}::text FROM {table}", role=GPU)

    assert seen == [(MINE,)]
    assert database.rows(f"SELECT count(*) FROM {table}", role=APP_ROLE) == [(2,)]


def test_a_node_can_settle_and_move_only_what_it_holds(database) -> None:
    with psycopg.connect(database.url(GPU)) as session:
        for table, change in (
            ("accounts_usageentry", "billed_seconds = 1"),
            ("render_render", "progress = 50"),
            ("projects_project", "updated_at = now()"),
        ):
            assert session.execute(f"UPDATE {table} SET {change}").rowcount == 1
        session.rollback()
    for statement in (
        "UPDATE accounts_usageentry SET reserved_seconds = 0",
        "UPDATE accounts_usageentry SET price_micros = 0",
        "UPDATE projects_project SET title = 'x'",
        "UPDATE accounts_tenant SET name = 'x'",
        "UPDATE accounts_plan SET monthly_seconds = 10^9",
        f"INSERT INTO render_segment (render_id, index, attempt, key, num_bytes, frames, state_key) "
        f"VALUES ('{THEIRS}', 5, 1, 'x', 1, 1, '')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.run([statement], role=GPU)


OF_RENDERS = ["projects_take", "render_segment", "render_attempt", "accounts_usageentry"]
OF_TENANTS = ["projects_webhookendpoint", "projects_project", "render_render", "accounts_apikey", "accounts_tenant"]
AS_A_NODE = """
from accounts.errors import ServiceError
from render import fence
from render.lifecycle import progress, retries, transitions
from render.machine import nodes
from render.models import Phase, Render

node = nodes.heartbeat("gpu")
for end in ("hand_back", "hand_over", "retry_later", "fail", "cancel"):
    claim = transitions.claim_next("gpu", node)
    fence.renew(claim, progress=5)
    progress.enter(claim, Phase.LOADING, progress=6)
    error = ServiceError("internal", "x")
    match end:
        case "hand_back": transitions.hand_back(claim)
        case "hand_over": transitions.hand_over(claim, "cpu", Phase.ASSEMBLING)
        case "retry_later": retries.retry_later(claim, error, trace="")
        case "fail": transitions.fail(claim, error)
        case "cancel": transitions.cancel(claim)
    print(end, Render.objects.get(pk=claim.render_id).state)
"""


def test_a_node_can_end_its_claim_in_every_way(database) -> None:
    """The service's own code, with the node's rights."""
    ids = [f"33333333-0000-4000-8000-{number:012}" for number in range(5)]
    waiting = "UPDATE render_render SET state = 'queued', lease_until = NULL, node_id = NULL, attempt = 5"
    database.run([tenant(number, number[-3:], 2) for number in ids])
    database.run([f"{waiting} WHERE id::text LIKE '3333%'"], role=APP_ROLE)
    try:
        said = database.manage("shell", "--no-imports", "-c", AS_A_NODE, role=GPU, NODE_NAME=NODE)
        settled = "SELECT count(*) FROM accounts_usageentry WHERE billed_seconds = 0 AND settled_at IS NOT NULL"
        assert database.rows(settled, role=APP_ROLE) == [(2,)]
        ends = "SELECT count(*) FROM projects_webhookevent WHERE type IN ('project.failed', 'project.canceled')"
        assert database.rows(ends, role=APP_ROLE) == [(2,)]
    finally:
        own = [f"DELETE FROM {table} WHERE render_id::text LIKE '3333%'" for table in OF_RENDERS]
        own += [f"DELETE FROM {table} WHERE id::text LIKE '3333%'" for table in OF_TENANTS]
        database.run(own, role=APP_ROLE)

    ends = ["hand_back queued", "hand_over queued", "retry_later queued", "fail failed", "cancel canceled"]
    assert said.splitlines() == ends


def test_a_node_knows_how_many_renders_run_but_not_which(database) -> None:
    assert sorted(database.rows("SELECT number FROM render_running_of_tenant", role=GPU)) == [(1,), (1,)]


def test_the_roles_bring_their_schema_and_time_outs(database) -> None:
    for role in (APP_ROLE, GPU):
        assert database.rows("SHOW search_path", role=role) == [(SCHEMA,)]
        for name, value in database_roles.TIMEOUTS.items():
            assert database.rows(f"SHOW {name}", role=role) == [({"60s": "1min"}.get(value, value),)]


def test_granting_again_after_an_upgrade_changes_nothing(database) -> None:
    database.run(database_roles.grant_statements(SCHEMA), role=APP_ROLE)

    assert database.rows("SELECT id::text FROM render_render", role=GPU) == [(MINE,)]


def exposed(database: Database) -> list[str]:
    """What the checks of `check --database default` and of `migrate` say to the service's role."""
    with connected_to(database, role=APP_ROLE):
        return [f"{message.id} {message.msg}" for message in run_checks(databases=["default"])]


def test_it_warns_of_tables_that_the_public_can_reach(database, django_db_blocker) -> None:
    grants = [f"GRANT USAGE ON SCHEMA {SCHEMA} TO anon", f"GRANT SELECT ON {SCHEMA}.auth_user TO anon"]
    with django_db_blocker.unblock():
        clean = exposed(database)
        database.run(grants, role=APP_ROLE)
        try:
            [warning] = set(exposed(database)) - set(clean)
        finally:
            withdrawals = [grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ") for grant in reversed(grants)]
            database.run(withdrawals, role=APP_ROLE)

    assert "creatorify.W003" not in " ".join(clean)
    assert warning.startswith("creatorify.W003") and "auth_user (anon)" in warning
