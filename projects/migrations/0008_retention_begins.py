"""What is over is deleted every hour, and projects that were deleted earlier get their receipt once their media are gone."""

from django.db import migrations

NAME = "keep-retention"


def schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.get_or_create(
        name=NAME,
        defaults={"func": "projects.tasks.keep_retention", "schedule_type": "H", "cluster": "cpu"},
    )


def unschedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("projects", "0007_retention"),
    ]

    operations = [
        migrations.RunPython(schedule, unschedule),
        migrations.RunSQL(
            """
            INSERT INTO projects_deletion (project_id, tenant_id, requested_at, files)
            SELECT id, tenant_id, deleted_at, 0 FROM projects_project WHERE deleted_at IS NOT NULL;
            """,
            migrations.RunSQL.noop,
        ),
    ]
