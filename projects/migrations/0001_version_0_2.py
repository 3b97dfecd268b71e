"""The tables of `projects`. What customers asked for.

It stands for the migrations before version 0.2: a database to which all of them were applied counts as migrated.
"""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import projects.models.webhooks

# name -> row of django-q2's schedules. The dotted names stay as they are, wherever the modules move.
SCHEDULES = {
    "check-invariants": {"func": "creatorify.tasks.check_invariants", "schedule_type": "I", "minutes": 5},
    "keep-retention": {"func": "projects.tasks.keep_retention", "schedule_type": "H"},
}


def schedule(apps, schema_editor):
    for name, row in SCHEDULES.items():
        apps.get_model("django_q", "Schedule").objects.get_or_create(name=name, defaults={**row, "cluster": "cpu"})


def unschedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name__in=SCHEDULES).delete()


class Migration(migrations.Migration):
    initial = True

    replaces = [
        ("projects", "0001_initial"),
        ("projects", "0002_test_projects_and_import"),
        ("projects", "0003_assets_and_avatars"),
        ("projects", "0004_script"),
        ("projects", "0005_invariants_schedule"),
        ("projects", "0006_webhooks"),
        ("projects", "0007_retention"),
        ("projects", "0008_retention_begins"),
        ("projects", "0009_webhooks_of_projects_and_news"),
        ("projects", "0010_discarded_objects"),
        ("projects", "0011_hand_out_tries_and_retention_failures"),
        ("projects", "0012_one_check_at_a_time"),
        ("projects", "0013_shared_messages_and_old_tests"),
        ("projects", "0014_check_turns"),
    ]

    dependencies = [
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("accounts", "0001_version_0_2"),
        ("render", "0001_version_0_2"),
    ]

    operations = [
        migrations.CreateModel(
            name="Asset",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "is_test",
                    models.BooleanField(default=False, help_text="Made with a test key; only test keys see it."),
                ),
                (
                    "origin",
                    models.CharField(
                        choices=[("upload", "Upload"), ("speech", "spoken from a script")],
                        default="upload",
                        max_length=10,
                    ),
                ),
                ("filename", models.CharField(max_length=200)),
                ("content_type", models.CharField(max_length=100)),
                (
                    "num_bytes",
                    models.BigIntegerField(help_text="Size as announced; checked when the file has arrived."),
                ),
                (
                    "sha256",
                    models.CharField(
                        blank=True, help_text="As announced, or as computed when the file was checked.", max_length=64
                    ),
                ),
                (
                    "key",
                    models.CharField(
                        help_text="In the media storage; equal files of a tenant share one.", max_length=300
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("ready", "Ready"),
                            ("errored", "Errored"),
                            ("expired", "Expired"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        blank=True, choices=[("image", "Image"), ("video", "Video"), ("audio", "Audio")], max_length=10
                    ),
                ),
                ("facts", models.JSONField(blank=True, default=dict)),
                ("error_code", models.CharField(blank=True, max_length=40)),
                ("error_message", models.TextField(blank=True)),
                ("uploaded_at", models.DateTimeField(help_text="When the file had arrived.", null=True)),
                ("expires_at", models.DateTimeField(help_text="Until when the file may arrive.", null=True)),
                (
                    "check_after",
                    models.DateTimeField(help_text="When the next worker may check it.", null=True),
                ),
                (
                    "checks",
                    models.PositiveIntegerField(
                        default=0, help_text="Checks that were begun. Only the worker of the latest one may write."
                    ),
                ),
                (
                    "put_offs",
                    models.PositiveIntegerField(
                        db_default=0,
                        default=0,
                        help_text="Checks that a machine or the storage could not do; they do not count as tries.",
                    ),
                ),
                (
                    "storage_failures",
                    models.PositiveIntegerField(
                        db_default=0,
                        default=0,
                        help_text="How often the check could not be done because the storage was away.",
                    ),
                ),
                (
                    "being_checked",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Whether a worker has it, until `check_after`."
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("deleted_at", models.DateTimeField(editable=False, null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="assets", to="accounts.tenant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Avatar",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("is_test", models.BooleanField(default=False)),
                ("name", models.CharField(max_length=120)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "asset",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="avatars", to="projects.asset"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="avatars", to="accounts.tenant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="CheckTurn",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="check_turn",
                        serialize=False,
                        to="accounts.tenant",
                    ),
                ),
                ("begun_at", models.DateTimeField()),
                (
                    "node",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="render.node"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="DiscardedObject",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=300)),
                (
                    "delete_after",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="When the next try to delete it is due.",
                    ),
                ),
                ("tries", models.PositiveIntegerField(default=0)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["delete_after"], name="discards_due")],
            },
        ),
        migrations.CreateModel(
            name="Project",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "user_id",
                    models.CharField(
                        default="anonymous", help_text="The tenant's own label; no authorisation.", max_length=200
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("description", models.TextField(blank=True, null=True)),
                ("image_url", models.TextField()),
                (
                    "audio_url",
                    models.TextField(
                        blank=True, help_text="Empty until the script is spoken, then a reference to the asset."
                    ),
                ),
                (
                    "script",
                    models.JSONField(
                        blank=True, help_text="text, voice and language; instead of an audio_url.", null=True
                    ),
                ),
                ("audio_url_2", models.TextField(blank=True, null=True)),
                (
                    "audio_order",
                    models.CharField(
                        choices=[
                            ("left_right", "Left Right"),
                            ("right_left", "Right Left"),
                            ("meanwhile", "Meanwhile"),
                        ],
                        default="left_right",
                        max_length=12,
                    ),
                ),
                ("prompt", models.TextField(blank=True, null=True)),
                (
                    "is_test",
                    models.BooleanField(default=False, help_text="Made with a test key; only test keys see it."),
                ),
                ("parameters", models.JSONField(default=dict, help_text="As given, with the seed that was drawn.")),
                ("metadata", models.JSONField(default=dict)),
                (
                    "webhook_url",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Gets messages about this project, beside the endpoints.",
                    ),
                ),
                ("warnings", models.JSONField(default=list)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("deleted_at", models.DateTimeField(editable=False, null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="projects",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="projects", to="accounts.tenant"
                    ),
                ),
            ],
            options={
                "permissions": [
                    ("cancel_project", "Can cancel a project's render"),
                    ("retry_project", "Can render a project again"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Deletion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "requested_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "sweep_after",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="When the next try to delete its media is due.",
                    ),
                ),
                ("files", models.PositiveIntegerField(default=0, help_text="Number of deleted files.")),
                ("completed_at", models.DateTimeField(null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="accounts.apikey"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="deletions", to="accounts.tenant"
                    ),
                ),
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="deletion", to="projects.project"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RetentionFailure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(help_text="A step of `projects.retention.policy`.", max_length=20)),
                ("row_id", models.CharField(help_text="Id of the row that could not be deleted.", max_length=40)),
                ("failures", models.PositiveIntegerField(default=1)),
                ("error", models.CharField(max_length=200)),
                ("next_try_at", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("step", "row_id"), name="one_retention_failure_a_row")],
            },
        ),
        migrations.CreateModel(
            name="Take",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("kind", models.CharField(choices=[("draft", "Draft"), ("final", "Final")], max_length=10)),
                (
                    "imported_video_url",
                    models.TextField(
                        blank=True, help_text="Address of a video that the older service has made and keeps."
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="takes", to="projects.project"
                    ),
                ),
                (
                    "render",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="take", to="render.render"
                    ),
                ),
            ],
            options={
                "ordering": ["number"],
            },
        ),
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "is_test",
                    models.BooleanField(
                        default=False, help_text="Made with a test key; gets events of test projects only."
                    ),
                ),
                (
                    "url",
                    models.TextField(blank=True, help_text="Empty: messages go to the `webhook_url` of each project."),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("project.queued", "Queued"),
                                ("project.processing", "Processing"),
                                ("project.finished", "Finished"),
                                ("project.failed", "Failed"),
                                ("project.canceled", "Canceled"),
                                ("project.progress", "Progress"),
                                ("usage.threshold_reached", "Threshold Reached"),
                                ("api_key.expiring", "Key Expiring"),
                                ("webhook_endpoint.disabled", "Endpoint Disabled"),
                                ("ping", "Ping"),
                            ],
                            max_length=40,
                        ),
                        default=projects.models.webhooks.default_events,
                        size=None,
                    ),
                ),
                (
                    "secret",
                    models.CharField(default=projects.models.webhooks.new_secret, editable=False, max_length=100),
                ),
                ("previous_secret", models.CharField(blank=True, editable=False, max_length=100)),
                ("previous_until", models.DateTimeField(editable=False, null=True)),
                ("failing_since", models.DateTimeField(editable=False, null=True)),
                ("disabled_at", models.DateTimeField(null=True)),
                ("disabled_reason", models.CharField(blank=True, max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="webhook_endpoints",
                        to="accounts.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="WebhookEvent",
            fields=[
                ("version", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("project.queued", "Queued"),
                            ("project.processing", "Processing"),
                            ("project.finished", "Finished"),
                            ("project.failed", "Failed"),
                            ("project.canceled", "Canceled"),
                            ("project.progress", "Progress"),
                            ("usage.threshold_reached", "Threshold Reached"),
                            ("api_key.expiring", "Key Expiring"),
                            ("webhook_endpoint.disabled", "Endpoint Disabled"),
                            ("ping", "Ping"),
                        ],
                        max_length=40,
                    ),
                ),
                ("project_id", models.UUIDField(null=True)),
                ("render_id", models.UUIDField(null=True)),
                ("is_test", models.BooleanField(db_default=False, default=False)),
                ("data", models.JSONField(null=True)),
                (
                    "subject",
                    models.CharField(
                        help_text="No second event with the same subject is recorded.",
                        max_length=200,
                        null=True,
                        unique=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("handed_out_at", models.DateTimeField(null=True)),
                (
                    "body",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The message, if it is long: one for all deliveries.",
                    ),
                ),
                (
                    "hand_out_tries",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, help_text="Failed tries to make its message."
                    ),
                ),
                (
                    "next_hand_out_at",
                    models.DateTimeField(help_text="When its message is made; null: at once.", null=True),
                ),
                (
                    "given_up_at",
                    models.DateTimeField(help_text="When the last try to make its message had failed.", null=True),
                ),
                ("hand_out_error", models.CharField(blank=True, db_default="", default="", max_length=200)),
                (
                    "tenant",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.tenant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        help_text="Id of the message.",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "url",
                    models.TextField(
                        blank=True, db_default="", default="", help_text="The receiver, if the endpoint has no URL."
                    ),
                ),
                ("body", models.TextField(blank=True, help_text="The message; empty: the event has it.")),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                (
                    "next_try_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="Null once it was delivered or given up.",
                        null=True,
                    ),
                ),
                ("delivered_at", models.DateTimeField(null=True)),
                (
                    "last_status",
                    models.PositiveSmallIntegerField(help_text="HTTP status of the last try.", null=True),
                ),
                ("last_error", models.CharField(blank=True, max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="projects.webhookendpoint",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="projects.webhookevent",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
            },
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="newest_assets"),
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(fields=["tenant", "sha256"], name="assets_by_content"),
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(fields=["key"], name="assets_by_key"),
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["tenant", "check_after"], name="assets_to_check_of"
            ),
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(condition=models.Q(("being_checked", True)), fields=["tenant"], name="assets_in_hand"),
        ),
        migrations.AddIndex(
            model_name="avatar",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="newest_avatars"),
        ),
        migrations.AddIndex(
            model_name="project",
            index=models.Index(fields=["-created_at", "-id"], name="newest_projects"),
        ),
        migrations.AddIndex(
            model_name="project",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="newest_of_tenant"),
        ),
        migrations.AddIndex(
            model_name="project",
            index=models.Index(fields=["tenant", "user_id", "-created_at"], name="newest_of_user"),
        ),
        migrations.AddIndex(
            model_name="project",
            index=models.Index(
                condition=models.Q(("deleted_at", None), ("is_test", True)), fields=["updated_at"], name="oldest_tests"
            ),
        ),
        migrations.AddIndex(
            model_name="deletion",
            index=models.Index(fields=["-requested_at"], name="newest_deletions"),
        ),
        migrations.AddIndex(
            model_name="deletion",
            index=models.Index(
                condition=models.Q(("completed_at", None)), fields=["sweep_after"], name="deletions_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="take",
            constraint=models.UniqueConstraint(fields=("project", "number"), name="one_take_a_number"),
        ),
        migrations.AddIndex(
            model_name="webhookendpoint",
            index=models.Index(fields=["tenant", "-created_at"], name="newest_endpoints"),
        ),
        migrations.AddConstraint(
            model_name="webhookendpoint",
            constraint=models.UniqueConstraint(
                condition=models.Q(("url", "")), fields=("tenant", "is_test"), name="one_endpoint_of_projects_own"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("handed_out_at__isnull", True)), fields=["version"], name="events_to_hand_out"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("type", "project.progress")), fields=["render_id"], name="progress_events"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookevent",
            constraint=models.UniqueConstraint(
                condition=models.Q(("render_id__isnull", False), models.Q(("type", "project.progress"), _negated=True)),
                fields=("render_id", "type"),
                name="one_event_a_render",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("next_try_at__isnull", False)), fields=["next_try_at"], name="deliveries_due"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["endpoint", "-created_at"], name="newest_deliveries"),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("event", "endpoint"), name="one_delivery_an_endpoint"),
        ),
        migrations.RunPython(schedule, unschedule),
    ]
