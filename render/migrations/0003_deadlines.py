from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("render", "0002_priority_has_default"),
    ]

    operations = [
        migrations.AddField(
            model_name="render",
            name="start_deadline_at",
            field=models.DateTimeField(help_text="Fails if it has not begun by then.", null=True),
        ),
        migrations.AddField(
            model_name="render",
            name="total_deadline_at",
            field=models.DateTimeField(help_text="Fails if it is not finished by then.", null=True),
        ),
        migrations.AddField(
            model_name="render",
            name="begun_at",
            field=models.DateTimeField(help_text="When its engine first began with it.", null=True),
        ),
    ]
