"""The tables of `render`. How films are made.

It stands for the migrations before version 0.2: a database to which all of them were applied counts as migrated.
"""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# name -> row of django-q2's schedules. The dotted names stay as they are, wherever the modules move.
SCHEDULES = {"reaper": {"func": "render.tasks.run_reaper", "schedule_type": "I", "minutes": 1}}


def schedule(apps, schema_editor):
    for name, row in SCHEDULES.items():
        apps.get_model("django_q", "Schedule").objects.get_or_create(name=name, defaults={**row, "cluster": "cpu"})


def unschedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name__in=SCHEDULES).delete()


class Migration(migrations.Migration):
    initial = True

    replaces = [
        ("render", "0001_initial"),
        ("render", "0002_terminal_states_and_queue"),
        ("render", "0003_node_model_state"),
        ("render", "0004_test_scenario"),
        ("render", "0005_storage_failures"),
        ("render", "0006_script"),
        ("render", "0007_running_of_tenant"),
        ("render", "0008_segments_of_earlier_renders"),
        ("render", "0009_node_canary"),
        ("render", "0010_retention"),
        ("render", "0011_node_fault"),
        ("render", "0012_turns_of_tenants"),
        ("render", "0013_warnings_of_files"),
        ("render", "0014_error_retryable"),
        ("render", "0015_variants_of_the_model"),
        ("render", "0016_unloadable_since"),
    ]

    dependencies = [
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("accounts", "0001_version_0_2"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunningRenders",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="accounts.tenant",
                    ),
                ),
                ("number", models.PositiveIntegerField()),
            ],
            options={
                "db_table": "render_running_of_tenant",
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=120)),
                ("queue", models.CharField(max_length=20)),
                ("heartbeat_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "model_state",
                    models.CharField(blank=True, help_text="Its model server: loading, ready, ...", max_length=10),
                ),
                ("gpu", models.CharField(blank=True, max_length=120)),
                (
                    "memory_plan",
                    models.CharField(blank=True, help_text="Which networks the GPU's memory holds.", max_length=40),
                ),
                (
                    "canary_at",
                    models.DateTimeField(help_text="When one of its workers last answered the watchdog.", null=True),
                ),
                (
                    "draining",
                    models.BooleanField(default=False, help_text="Takes no new render and hands its current one back."),
                ),
                (
                    "fault",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="Why it cannot take work now.",
                        max_length=200,
                    ),
                ),
                ("fault_since", models.DateTimeField(null=True)),
                (
                    "rests_until",
                    models.DateTimeField(help_text="After a fault it takes no work until then.", null=True),
                ),
                (
                    "unloadable",
                    models.JSONField(
                        blank=True,
                        db_default=models.Value({}, models.JSONField()),
                        default=dict,
                        help_text="Variants of the model whose files are missing or damaged here, and why. It renders none of these.",
                    ),
                ),
                (
                    "unloadable_since",
                    models.JSONField(
                        blank=True,
                        db_default=models.Value({}, models.JSONField()),
                        default=dict,
                        help_text="Since when each of these cannot be loaded, in seconds of Unix time by the database's clock.",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("name", "queue"), name="one_node_a_queue")],
            },
        ),
        migrations.CreateModel(
            name="ReaperClock",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("last_run_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("grace_until", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_reaper_clock")],
            },
        ),
        migrations.CreateModel(
            name="Render",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("engine", models.CharField(max_length=40)),
                ("queue", models.CharField(help_text="The queue whose nodes can do its next step.", max_length=20)),
                ("image_url", models.TextField(help_text="A portrait, or a video to dub.")),
                ("audio_url", models.TextField(blank=True, help_text="Empty if the voice is spoken from the script.")),
                ("script", models.JSONField(blank=True, help_text="text, voice and language.", null=True)),
                ("audio_url_2", models.TextField(blank=True)),
                ("audio_order", models.CharField(default="left_right", max_length=12)),
                ("prompt", models.TextField(blank=True)),
                ("parameters", models.JSONField()),
                (
                    "test_scenario",
                    models.CharField(blank=True, help_text="With a test key: how the render is to end.", max_length=40),
                ),
                ("sources", models.JSONField(blank=True, null=True)),
                (
                    "warnings",
                    models.JSONField(
                        blank=True,
                        db_default=models.Value([], models.JSONField()),
                        default=list,
                        help_text="About the customer's files: param, code and detail.",
                    ),
                ),
                ("plan", models.JSONField(blank=True, null=True)),
                ("segments_total", models.PositiveIntegerField(null=True)),
                ("num_frames", models.PositiveIntegerField(null=True)),
                (
                    "variant",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="Of the model: which of its files are needed.",
                        max_length=40,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                (
                    "phase",
                    models.CharField(
                        choices=[
                            ("prepare", "Prepare"),
                            ("waiting", "Waiting"),
                            ("loading", "Loading"),
                            ("rendering", "Rendering"),
                            ("assembling", "Assembling"),
                            ("uploading", "Uploading"),
                        ],
                        default="prepare",
                        max_length=12,
                    ),
                ),
                ("progress", models.PositiveSmallIntegerField(default=0)),
                ("attempt", models.PositiveIntegerField(default=0)),
                ("lease_until", models.DateTimeField(null=True)),
                ("heartbeat_at", models.DateTimeField(null=True)),
                ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("crashes", models.PositiveSmallIntegerField(default=0)),
                ("failures", models.PositiveSmallIntegerField(default=0)),
                (
                    "storage_failures",
                    models.PositiveSmallIntegerField(db_default=0, help_text="Of the media storage; counted apart."),
                ),
                ("cancel_requested_at", models.DateTimeField(null=True)),
                ("video_key", models.CharField(blank=True, max_length=300)),
                ("poster_key", models.CharField(blank=True, max_length=300)),
                ("duration_seconds", models.FloatField(null=True)),
                ("error_code", models.CharField(blank=True, max_length=40)),
                ("error_message", models.TextField(blank=True, help_text="For the customer.")),
                ("error_param", models.CharField(blank=True, max_length=40)),
                (
                    "error_retryable",
                    models.BooleanField(help_text="Whether a retry may help; null: as the code says.", null=True),
                ),
                ("error_trace", models.TextField(blank=True, help_text="For staff only: may hold addresses.")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("started_at", models.DateTimeField(null=True)),
                ("completed_at", models.DateTimeField(null=True)),
                (
                    "work_deleted_at",
                    models.DateTimeField(help_text="When its segments and sources were deleted.", null=True),
                ),
                (
                    "films_deleted_at",
                    models.DateTimeField(help_text="When its video and poster were deleted.", null=True),
                ),
                (
                    "node",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="renders",
                        to="render.node",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="renders", to="accounts.tenant"
                    ),
                ),
            ],
            options={
                "permissions": [("view_media", "Can look at a tenant's media")],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("done", "Done"),
                            ("handed_over", "handed over to the engine's queue"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                            ("lease_lost", "Lease Lost"),
                            ("yielded", "Yielded"),
                            ("node_fault", "handed back because of a fault of the node"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "render_seconds",
                    models.FloatField(default=0, help_text="Seconds in the engine, without transfers."),
                ),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "node",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="attempts",
                        to="render.node",
                    ),
                ),
                (
                    "render",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="attempts", to="render.render"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Segment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("index", models.PositiveIntegerField()),
                (
                    "attempt",
                    models.PositiveIntegerField(help_text="0: of an earlier render, which this one continues."),
                ),
                ("key", models.CharField(help_text="Ends in the SHA-256 of the content.", max_length=300)),
                ("num_bytes", models.PositiveBigIntegerField()),
                ("frames", models.PositiveIntegerField()),
                (
                    "state_key",
                    models.CharField(
                        blank=True, help_text="The engine's own checkpoint, if it needs one.", max_length=300
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "render",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="segments", to="render.render"
                    ),
                ),
            ],
            options={
                "ordering": ["index"],
            },
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(fields=["-created_at", "-id"], name="newest_renders"),
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(fields=["state", "lease_until"], name="render_rend_state_bbb278_idx"),
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(condition=models.Q(("state", "queued")), fields=["queue", "created_at"], name="queued"),
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(condition=models.Q(("state", "running")), fields=["tenant"], name="running_of_tenant"),
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(
                condition=models.Q(("started_at__isnull", False)), fields=["tenant", "started_at"], name="turns"
            ),
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(
                condition=models.Q(("work_deleted_at", None)), fields=["completed_at"], name="work_to_delete"
            ),
        ),
        migrations.AddIndex(
            model_name="render",
            index=models.Index(
                condition=models.Q(("films_deleted_at", None), ("state", "finished")),
                fields=["completed_at"],
                name="films_to_delete",
            ),
        ),
        migrations.AddConstraint(
            model_name="render",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lease_until__isnull", False), ("state", "running")),
                    models.Q(models.Q(("state", "running"), _negated=True), ("lease_until__isnull", True)),
                    _connector="OR",
                ),
                name="running_holds_a_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="render",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("completed_at__isnull", False), ("state__in", ["finished", "failed", "canceled"])),
                    models.Q(
                        models.Q(("state__in", ["finished", "failed", "canceled"]), _negated=True),
                        ("completed_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="terminal_is_completed",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(fields=("render", "number"), name="one_attempt_a_number"),
        ),
        migrations.AddConstraint(
            model_name="segment",
            constraint=models.UniqueConstraint(fields=("render", "index"), name="one_segment_an_index"),
        ),
        # The database itself refuses to let an ended render start again.
        migrations.RunSQL(
            """
            CREATE FUNCTION render_terminal_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'render % is %, it cannot become %', OLD.id, OLD.state, NEW.state
                    USING ERRCODE = 'check_violation';
            END $$;
            CREATE TRIGGER render_terminal_is_final BEFORE UPDATE OF state ON render_render
                FOR EACH ROW WHEN (OLD.state IN ('finished', 'failed', 'canceled') AND NEW.state <> OLD.state)
                EXECUTE FUNCTION render_terminal_is_final();
            """,
            "DROP TRIGGER render_terminal_is_final ON render_render; DROP FUNCTION render_terminal_is_final();",
        ),
        # django-q2's own table lacks the index that its reads need.
        migrations.RunSQL(
            "CREATE INDEX ticket_by_key_and_lock ON django_q_ormq (key, lock);",
            "DROP INDEX ticket_by_key_and_lock;",
        ),
        # With its owner's rights (no security_invoker): who may read the view need not be able to read the renders.
        migrations.RunSQL(
            """
            CREATE VIEW render_running_of_tenant AS
            SELECT tenant_id, count(*) AS number FROM render_render WHERE state = 'running' GROUP BY tenant_id
            """,
            "DROP VIEW render_running_of_tenant",
        ),
        migrations.RunPython(schedule, unschedule),
    ]
