"""What models cannot say: an ended render never starts again, and the queue's table has the index that its reads need."""

from django.db import migrations


def schedule_reaper(apps, schema_editor):
    Schedule = apps.get_model("django_q", "Schedule")
    Schedule.objects.get_or_create(
        name="reaper",
        defaults={"func": "render.tasks.run_reaper", "schedule_type": "I", "minutes": 1, "cluster": "cpu"},
    )


def unschedule_reaper(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name="reaper").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("render", "0001_initial"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]

    operations = [
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
        migrations.RunSQL(
            "CREATE INDEX ticket_by_key_and_lock ON django_q_ormq (key, lock);",
            "DROP INDEX ticket_by_key_and_lock;",
        ),
        migrations.RunPython(schedule_reaper, unschedule_reaper),
    ]
