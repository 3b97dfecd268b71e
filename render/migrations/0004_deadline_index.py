"""The index by which the reaper finds renders that have missed a deadline. Renders are written while it is made."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("render", "0003_deadlines"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="render",
            index=models.Index(
                condition=models.Q(
                    ("state__in", ["queued", "running"]),
                    models.Q(
                        ("total_deadline_at__isnull", False), ("start_deadline_at__isnull", False), _connector="OR"
                    ),
                ),
                fields=["total_deadline_at", "start_deadline_at"],
                name="with_a_deadline",
            ),
        ),
    ]
