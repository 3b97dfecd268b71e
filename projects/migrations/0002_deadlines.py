from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0001_version_0_2"),
    ]

    operations = [
        migrations.AddField(
            model_name="project",
            name="start_deadline_seconds",
            field=models.PositiveIntegerField(help_text="For a take to begin, from its creation.", null=True),
        ),
        migrations.AddField(
            model_name="project",
            name="total_deadline_seconds",
            field=models.PositiveIntegerField(help_text="For a take to be finished.", null=True),
        ),
    ]
