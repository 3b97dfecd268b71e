"""The tables of `accounts`: tenants, API keys, usage, request counts and the audit log.

It replaces the migrations before version 0.2: a database to which all of those were applied counts as migrated.
"""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import accounts.models


class Migration(migrations.Migration):
    initial = True

    replaces = [
        ("accounts", "0001_initial"),
        ("accounts", "0002_plan_has_weight"),
        ("accounts", "0003_keys_rates_idempotency_audit"),
        ("accounts", "0004_max_stored_bytes"),
        ("accounts", "0005_unlogged_request_windows"),
        ("accounts", "0006_failed_logins"),
        ("accounts", "0007_rotation_apart_from_expiry"),
    ]

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FailedLogins",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account", models.CharField(help_text="SHA-256 of the user name that was entered.", max_length=64)),
                (
                    "address",
                    models.CharField(
                        help_text="The client's IPv4 address, or the /64 network of its IPv6 address.", max_length=45
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("failures", models.PositiveIntegerField()),
                (
                    "succeeded_at",
                    models.DateTimeField(
                        help_text="Time of the last successful log-in to the account from this address.", null=True
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["address", "started_at"], name="failed_logins_of_address"),
                    models.Index(fields=["started_at"], name="oldest_failed_logins"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("account", "address"), name="one_row_an_account_and_address")
                ],
            },
        ),
        migrations.CreateModel(
            name="Plan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60, unique=True)),
                (
                    "monthly_seconds",
                    models.PositiveIntegerField(
                        default=3600, help_text="Seconds of video that a tenant may make per calendar month (UTC)."
                    ),
                ),
                (
                    "spend_cap_micros",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Highest amount per month, in millionths of the currency. Empty: no cap.",
                        null=True,
                    ),
                ),
                ("currency", models.CharField(default="USD", max_length=3)),
                (
                    "max_concurrent",
                    models.PositiveSmallIntegerField(
                        default=2, help_text="Renders that run at the same time; more wait in the queue."
                    ),
                ),
                (
                    "max_queued",
                    models.PositiveIntegerField(
                        default=100, help_text="Renders that wait in the queue; more are refused."
                    ),
                ),
                (
                    "max_audio_seconds",
                    models.PositiveIntegerField(
                        default=600, help_text="Longest voice recording or spoken script, in seconds."
                    ),
                ),
                (
                    "requests_per_minute",
                    models.PositiveIntegerField(
                        default=600, help_text="Requests per minute, except those that start a render."
                    ),
                ),
                (
                    "creates_per_minute",
                    models.PositiveIntegerField(default=60, help_text="Requests per minute that start a render."),
                ),
                (
                    "weight",
                    models.PositiveSmallIntegerField(
                        default=1,
                        help_text="Share of the nodes when tenants compete: a tenant with 2 gets twice as much as one with 1.",
                    ),
                ),
                (
                    "prices",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Price of one second of video, in millionths of the currency, by engine and size: {"infinitetalk": {"480p": 15000}}.',
                    ),
                ),
                (
                    "max_stored_bytes",
                    models.BigIntegerField(
                        db_default=21474836480,
                        default=21474836480,
                        help_text="Bytes of uploaded files and spoken scripts.",
                    ),
                ),
                (
                    "retention_days",
                    models.PositiveIntegerField(
                        default=30,
                        help_text="Days until the video of a render is deleted, and an unchanged project of a test key.",
                    ),
                ),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("weight__gte", 1)), name="plan_has_weight")],
            },
        ),
        migrations.CreateModel(
            name="Tenant",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=120, unique=True)),
                ("suspended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tenants", to="accounts.plan"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=120)),
                ("mode", models.CharField(choices=[("live", "Live"), ("test", "Test")], default="live", max_length=4)),
                ("prefix", models.CharField(editable=False, max_length=20, unique=True)),
                ("digest", models.CharField(editable=False, max_length=64)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("projects:read", "Projects Read"),
                                ("projects:write", "Projects Write"),
                                ("uploads:write", "Uploads Write"),
                                ("usage:read", "Usage Read"),
                                ("webhooks:write", "Webhooks Write"),
                                ("keys:admin", "Keys Admin"),
                            ],
                            max_length=20,
                        ),
                        default=accounts.models.default_scopes,
                        size=None,
                    ),
                ),
                (
                    "allowed_ips",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=43),
                        blank=True,
                        default=list,
                        help_text="Networks (CIDR) from which the key may be used. Empty: from anywhere.",
                        size=None,
                    ),
                ),
                (
                    "legacy_200",
                    models.BooleanField(
                        default=False,
                        help_text="Answer POST /projects with status 200, as the service before this one did.",
                    ),
                ),
                (
                    "expires_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="From this time the key is refused. A rotation may have moved it to an earlier time.",
                        null=True,
                    ),
                ),
                (
                    "rotated_at",
                    models.DateTimeField(editable=False, help_text="Time of the first rotation.", null=True),
                ),
                ("expiry_before_rotation", models.DateTimeField(editable=False, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "rotated_from",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="rotated_to",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="api_keys", to="accounts.tenant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RequestWindow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("policy", models.CharField(max_length=20)),
                ("started_at", models.DateTimeField()),
                ("count", models.PositiveIntegerField()),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.tenant"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "policy"), name="one_window_a_policy")],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("member", "Member")], default="member", max_length=10
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="memberships", to="accounts.tenant"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "user"), name="one_membership_a_user")],
            },
        ),
        migrations.CreateModel(
            name="IdempotentResponse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "route",
                    models.CharField(
                        help_text="HTTP method and route. The API key is not part of it, because it may be rotated between tries.",
                        max_length=200,
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("fingerprint", models.CharField(help_text="SHA-256 of the request.", max_length=64)),
                ("status", models.PositiveSmallIntegerField()),
                ("headers", models.JSONField(default=dict)),
                ("body", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.tenant"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["created_at"], name="oldest_responses")],
                "constraints": [models.UniqueConstraint(fields=("tenant", "route", "key"), name="one_response_a_key")],
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("action", models.CharField(max_length=40)),
                (
                    "target",
                    models.CharField(help_text="Kind and id of the row that was changed or viewed.", max_length=80),
                ),
                ("reason", models.TextField(blank=True)),
                ("details", models.JSONField(default=dict)),
                ("ip_address", models.GenericIPAddressField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="accounts.apikey"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="audit_entries",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "indexes": [
                    models.Index(fields=["-created_at"], name="newest_audit"),
                    models.Index(fields=["tenant", "-created_at"], name="newest_audit_of_tenant"),
                    models.Index(fields=["target", "-created_at"], name="newest_audit_of_target"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("render_id", models.UUIDField(editable=False, null=True, unique=True)),
                ("engine", models.CharField(blank=True, max_length=40)),
                ("resolution", models.CharField(blank=True, max_length=10)),
                (
                    "user_label",
                    models.CharField(
                        blank=True, help_text="The tenant's own user, `user_id` of the request.", max_length=200
                    ),
                ),
                (
                    "is_test",
                    models.BooleanField(
                        default=False, help_text="Made with a test key: it costs nothing and uses none of the quota."
                    ),
                ),
                ("reserved_seconds", models.PositiveIntegerField(default=0)),
                ("billed_seconds", models.IntegerField(null=True)),
                (
                    "price_micros",
                    models.BigIntegerField(
                        default=0, help_text="Price of one second at the time when the render was requested."
                    ),
                ),
                ("amount_micros", models.BigIntegerField(default=0)),
                ("currency", models.CharField(default="USD", max_length=3)),
                ("gpu_seconds", models.FloatField(default=0)),
                ("cost_micros", models.BigIntegerField(default=0)),
                ("reason", models.TextField(blank=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="usage",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "author",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="usage", to="accounts.tenant"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "usage entries",
                "permissions": [
                    ("credit_tenant", "Can credit or charge a tenant"),
                    ("view_report", "Can view the report"),
                ],
                "indexes": [
                    models.Index(fields=["tenant", "created_at"], name="accounts_us_tenant__ef88cf_idx"),
                    models.Index(fields=["created_at"], name="usage_of_a_time"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("render_id__isnull", True),
                            ("billed_seconds__isnull", True),
                            models.Q(("billed_seconds__gte", 0), ("billed_seconds__lte", models.F("reserved_seconds"))),
                            _connector="OR",
                        ),
                        name="billed_within_the_hold",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("render_id__isnull", False), models.Q(("reason", ""), _negated=True), _connector="OR"
                        ),
                        name="adjustments_have_a_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageThreshold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="First day of the month (UTC).")),
                ("measure", models.CharField(choices=[("seconds", "Seconds"), ("spend", "Spend")], max_length=10)),
                ("percent", models.PositiveSmallIntegerField()),
                (
                    "used",
                    models.BigIntegerField(help_text="Seconds or micros, at the time when the threshold was reached."),
                ),
                ("allowed", models.BigIntegerField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="usage_thresholds",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "month", "measure", "percent"), name="one_row_a_threshold"
                    )
                ],
            },
        ),
        # Every request counts itself in this table. Without a write-ahead log none waits for the disk; a crash of the
        # database empties the table, and all windows begin anew.
        migrations.RunSQL(
            "ALTER TABLE accounts_requestwindow SET UNLOGGED", "ALTER TABLE accounts_requestwindow SET LOGGED"
        ),
    ]
