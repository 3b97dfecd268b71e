"""The tenants' turns at the check of uploads. Tickets of chores have keys of their own now, one ticket is enough for each.

So the older tickets go, of which there may be thousands: the reaper's next round makes those that are needed.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_failed_logins"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("projects", "0013_shared_messages_and_old_tests"),
        ("render", "0012_turns_of_tenants"),
    ]

    operations = [
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
                (
                    "node",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="render.node"
                    ),
                ),
                ("begun_at", models.DateTimeField()),
            ],
        ),
        migrations.RemoveIndex(model_name="asset", name="assets_to_check"),
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
        migrations.RunSQL("DELETE FROM django_q_ormq", migrations.RunSQL.noop),
    ]
