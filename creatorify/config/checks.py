"""System checks of settings that would do harm only later, in production. Every process runs them at its start."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection

from accounts import prices
from accounts.models import Plan

# Supabase's roles for requests with the public key, which is in every browser.
PUBLIC_ROLES = ("anon", "authenticated")
EXPOSED_TABLES = """
    SELECT tables.relname, roles.rolname
    FROM pg_class tables, pg_roles roles
    WHERE roles.rolname = ANY(%s)
    AND tables.relkind IN ('r', 'v', 'm', 'p')
    AND tables.relnamespace = current_schema()::regnamespace
    AND has_schema_privilege(roles.oid, tables.relnamespace, 'USAGE')
    AND has_table_privilege(roles.oid, tables.oid, 'SELECT, INSERT, UPDATE, DELETE')
    ORDER BY 1, 2
"""


@register()
def check_queue(**_: Any) -> Iterable[CheckMessage]:
    """A ticket must not be delivered again while it is worked on, or waits in a worker behind another ticket."""
    common = {name: value for name, value in settings.Q_CLUSTER.items() if name != "ALT_CLUSTERS"}
    clusters = {common["cluster_name"]: common}
    clusters |= {name: {**common, **changes} for name, changes in settings.Q_CLUSTER["ALT_CLUSTERS"].items()}
    for name, cluster in clusters.items():
        needed = cluster["timeout"] * (cluster["queue_limit"] / cluster["workers"] + 2)
        if cluster["retry"] < needed:
            yield Error(
                f"Q_CLUSTER {name}: retry is {cluster['retry']} s and must be at least {needed:g} s.",
                hint="retry >= timeout * (queue_limit / workers + 2)",
                id="creatorify.E001",
            )
        if (cluster["guard_cycle"] * 4) % 1:
            # django-q2 counts down to exactly zero: steps without an exact binary form never reach it.
            yield Error(f"Q_CLUSTER {name}: guard_cycle must be a multiple of 0.25 s.", id="creatorify.E002")


@register()
def check_lease(**_: Any) -> Iterable[CheckMessage]:
    if settings.RENDER_LEASE_SECONDS < 3 * settings.RENDER_LEASE_RENEW_SECONDS:
        yield Error(
            "RENDER_LEASE_SECONDS must be at least three times RENDER_LEASE_RENEW_SECONDS.",
            hint="A worker must be able to miss two renewals and still keep its render.",
            id="creatorify.E003",
        )


@register()
def check_engines(**_: Any) -> Iterable[CheckMessage]:
    if settings.DEFAULT_ENGINE not in settings.RENDER_ENGINES:
        yield Error(
            f"DEFAULT_ENGINE is {settings.DEFAULT_ENGINE}, which is not installed.",
            hint=f"Choose one of: {', '.join(settings.RENDER_ENGINES)}",
            id="creatorify.E004",
        )


@register()
def check_storage_credentials(**_: Any) -> Iterable[CheckMessage]:
    """Only a warning: if the machine's role gives the credentials, its service may be away for a moment."""
    of_s3 = [entry["OPTIONS"] for entry in settings.STORAGES.values() if entry["BACKEND"].endswith("SignedS3Storage")]
    if all(options["access_key"] is not None for options in of_s3):
        return
    from botocore.session import Session  # Takes a tenth of a second to load.

    if Session().get_credentials() is None:
        yield Warning(
            "S3_BUCKET is set, and no credentials for it are found: no file can be stored.",
            hint="Set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY, or give this machine a role or a profile.",
            id="creatorify.W005",
        )


@register(deploy=True)
def check_database_tls(**_: Any) -> Iterable[CheckMessage]:
    database = connection.settings_dict
    host = database["HOST"]
    is_here = not host or host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")
    if not is_here and database["OPTIONS"].get("sslmode") != "verify-full":
        yield Warning(
            f"The connection to {host} is not verified: somebody in between could read and change everything.",
            hint="Set DATABASE_CA_FILE to the CA certificate of the database's provider.",
            id="creatorify.W002",
        )


@register(Tags.database)
def check_exposed_schema(databases: Iterable[str] | None = None, **_: Any) -> Iterable[CheckMessage]:
    """Runs with `check --database default` and with every `migrate`."""
    if not databases or "default" not in databases or connection.settings_dict["NAME"] is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(EXPOSED_TABLES, [list(PUBLIC_ROLES)])
        exposed = [f"{name} ({role})" for name, role in cursor.fetchall()]
    if exposed:
        yield Warning(
            f"{len(exposed)} tables can be reached by the roles of a public API, such as {exposed[0]}.",
            hint="Keep the tables in a schema of their own: manage.py database_roles app",
            id="creatorify.W003",
        )


@register(Tags.database)
def check_prices(databases: Iterable[str] | None = None, **_: Any) -> Iterable[CheckMessage]:
    """An engine may be newer than a plan. Runs with `check --database default` and with every `migrate`."""
    if not databases or "default" not in databases or Plan._meta.db_table not in connection.introspection.table_names():
        return
    # Only these columns: before `migrate`, others may not exist yet.
    for plan in Plan.objects.only("name", "prices", "spend_cap_micros").order_by("name"):
        lacking = prices.missing(plan)
        if lacking:
            yield Warning(
                f"The plan {plan.name} has no price for {', '.join(lacking)}: its tenants' renders are refused.",
                hint="Add the prices in the admin; 0 is free.",
                id="creatorify.W004",
            )


@register(deploy=True)
def check_public_url(**_: Any) -> Iterable[CheckMessage]:
    if not settings.PUBLIC_URL:
        yield Warning(
            "PUBLIC_URL is not set: the links in webhook messages have no host, because no request gives them one.",
            hint="Set it to the address of the service as customers know it, such as https://avatars.example.com.",
            id="creatorify.W006",
        )


@register(deploy=True)
def check_private_sources(**_: Any) -> Iterable[CheckMessage]:
    if settings.ALLOW_PRIVATE_MEDIA_URLS:
        yield Warning(
            "ALLOW_PRIVATE_MEDIA_URLS is on: a customer can make this machine read addresses of its private network.",
            id="creatorify.W001",
        )
