"""For databases made before version 0.2, whose renders have a `priority` that nothing sets any more.

It stays for the workers of the version before, which read it, until they are replaced too.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("render", "0001_version_0_2"),
    ]

    operations = [
        migrations.RunSQL(
            """
            DO $$ BEGIN
                IF EXISTS (
                    SELECT FROM information_schema.columns
                    WHERE table_schema = current_schema AND table_name = 'render_render' AND column_name = 'priority'
                ) THEN
                    ALTER TABLE render_render ALTER COLUMN priority SET DEFAULT 0;
                END IF;
            END $$;
            """,
            migrations.RunSQL.noop,
        ),
    ]
