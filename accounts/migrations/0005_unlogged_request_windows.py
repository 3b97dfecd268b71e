from django.db import migrations


class Migration(migrations.Migration):
    """Every request counts itself in this table. Without a write-ahead log none waits for the disk for it; a crash of
    the database empties the table, and all windows begin anew."""

    dependencies = [
        ("accounts", "0004_max_stored_bytes"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE accounts_requestwindow SET UNLOGGED", "ALTER TABLE accounts_requestwindow SET LOGGED"
        ),
    ]
