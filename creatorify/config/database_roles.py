"""SQL that creates the database's roles: the service's own with a private schema, and one with few rights per GPU node.

The schema and time-outs of a session are set on the role itself: a pooler in transaction mode refuses start-up options,
and a SET of one client would stay in force for the next.
"""

import secrets
from collections.abc import Iterator

from psycopg import sql

GPU_ROLE = "creatorify_gpu"  # has the rights of a GPU node; each node logs in with a role that is a member of it
TIMEOUTS = {
    "statement_timeout": "60s",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "60s",
}

# The renders that a node may see: those that wait for a GPU, and those that it works on or worked on last.
_OWN_NODE = f"SELECT id FROM {{schema}}.render_node WHERE '{GPU_ROLE}_' || name = current_user"
_VISIBLE_RENDER = "(queue = 'gpu' AND state = 'queued') OR node_id IN (" + _OWN_NODE + ")"
_OF_VISIBLE_RENDER = "render_id IN (SELECT id FROM {schema}.render_render)"
# Table -> the rows that a node may see. The other tables in _GRANTS contain nothing of a tenant.
_ROWS = {
    "render_render": _VISIBLE_RENDER,
    "render_attempt": _OF_VISIBLE_RENDER,
    "render_segment": _OF_VISIBLE_RENDER,
    "accounts_tenant": "id IN (SELECT tenant_id FROM {schema}.render_render)",
    "accounts_usageentry": _OF_VISIBLE_RENDER,
    "projects_take": _OF_VISIBLE_RENDER,
    "projects_project": "id IN (SELECT project_id FROM {schema}.projects_take)",
    "projects_webhookevent": _OF_VISIBLE_RENDER,
    "projects_webhookendpoint": "tenant_id IN (SELECT tenant_id FROM {schema}.render_render)",
}
_GRANTS = [
    "SELECT, UPDATE ON {schema}.render_render",
    "SELECT, INSERT, UPDATE ON {schema}.render_attempt",
    "SELECT, INSERT ON {schema}.render_segment",
    "SELECT, INSERT, UPDATE ON {schema}.render_node",
    "SELECT ON {schema}.render_running_of_tenant",
    "SELECT ON {schema}.accounts_tenant",
    "SELECT ON {schema}.accounts_plan",
    # To settle a hold; only the columns of the hold are read.
    "SELECT (render_id, billed_seconds, reserved_seconds, price_micros) ON {schema}.accounts_usageentry",
    "UPDATE (billed_seconds, amount_micros, gpu_seconds, cost_micros, settled_at) ON {schema}.accounts_usageentry",
    "SELECT (id, project_id, render_id) ON {schema}.projects_take",
    "SELECT (id, deleted_at) ON {schema}.projects_project",
    "UPDATE (updated_at) ON {schema}.projects_project",
    # To record webhook events if the tenant has an endpoint, whose secret is not granted.
    "SELECT (id, tenant_id, disabled_at) ON {schema}.projects_webhookendpoint",
    "SELECT (render_id, type), INSERT ON {schema}.projects_webhookevent",
    "SELECT, INSERT, UPDATE, DELETE ON {schema}.django_q_ormq",
    "USAGE ON ALL SEQUENCES IN SCHEMA {schema}",
]


def app_statements(*, role: str, password: str, schema: str) -> list[sql.Composed]:
    """For an empty database. They must run as a role that may create roles."""
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    statements = [
        sql.SQL("CREATE ROLE {role} LOGIN PASSWORD {password}").format(**names, password=sql.Literal(password)),
        # Since PostgreSQL 16 the creator of a role is not a member of it.
        sql.SQL("GRANT {role} TO CURRENT_USER").format(**names),
        sql.SQL("CREATE SCHEMA {schema} AUTHORIZATION {role}").format(**names),
        sql.SQL("REVOKE ALL ON SCHEMA {schema} FROM PUBLIC").format(**names),
        sql.SQL("ALTER ROLE {role} SET search_path = {schema}").format(**names),
    ]
    return statements + _timeouts(names["role"])


def gpu_statements(*, node: str, password: str, app_role: str, schema: str) -> Iterator[sql.Composed]:
    """For one node. They must run as a role that may create roles.

    After an upgrade they are run again, without the CREATE ROLE of the node.
    """
    login = sql.Identifier(login_role(node))
    group, owner = sql.Identifier(GPU_ROLE), sql.Identifier(app_role)
    yield sql.SQL("DO $$ BEGIN CREATE ROLE {group} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$").format(
        group=group
    )
    yield sql.SQL("CREATE ROLE {login} LOGIN PASSWORD {password} IN ROLE {group}").format(
        login=login, password=sql.Literal(password), group=group
    )
    yield sql.SQL("ALTER ROLE {login} SET search_path = {schema}").format(login=login, schema=sql.Identifier(schema))
    yield from _timeouts(login)
    yield sql.SQL("SET ROLE {owner}").format(owner=owner)
    yield from grant_statements(schema)
    yield sql.SQL("RESET ROLE").format()


def grant_statements(schema: str) -> Iterator[sql.Composed]:
    """Replace all rights of GPU nodes. They must run as the owner of the tables."""
    schema_name, group = sql.Identifier(schema), sql.Identifier(GPU_ROLE)
    statements = [
        "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {group}",
        "REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {group}",
        "GRANT USAGE ON SCHEMA {schema} TO {group}",
        *(f"GRANT {grant} TO {{group}}" for grant in _GRANTS),
    ]
    for statement in statements:
        yield sql.SQL(statement).format(schema=schema_name, group=group)
    for table, rows in _ROWS.items():
        name = sql.Identifier(schema, table)
        # It does not restrict the owner, which is the service itself.
        yield sql.SQL("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY").format(table=name)
        yield sql.SQL("DROP POLICY IF EXISTS gpu_nodes ON {table}").format(table=name)
        using = sql.SQL(rows).format(schema=schema_name)
        yield sql.SQL("CREATE POLICY gpu_nodes ON {table} TO {group} USING ({using})").format(
            table=name, group=group, using=using
        )


def login_role(node: str) -> str:
    return f"{GPU_ROLE}_{node}"


def new_password() -> str:
    return secrets.token_urlsafe(24)


def _timeouts(role: sql.Identifier) -> list[sql.Composed]:
    return [
        sql.SQL("ALTER ROLE {role} SET {name} = {value}").format(
            role=role, name=sql.Identifier(name), value=sql.Literal(value)
        )
        for name, value in TIMEOUTS.items()
    ]
