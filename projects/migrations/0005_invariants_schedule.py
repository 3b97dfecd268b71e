"""The invariants of the whole service are checked every five minutes; what is broken is an error in the log."""

from django.db import migrations

NAME = "check-invariants"


def schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.get_or_create(
        name=NAME,
        defaults={"func": "creatorify.tasks.check_invariants", "schedule_type": "I", "minutes": 5, "cluster": "cpu"},
    )


def unschedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("projects", "0004_script"),
    ]

    operations = [
        migrations.RunPython(schedule, unschedule),
    ]
