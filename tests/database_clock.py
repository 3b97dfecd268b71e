"""The database's clock, set by a test: what `Now()` and SQL of ours read on this test's connection."""

from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

SCHEMA = "set_clock"


class DatabaseClock:
    """Goes on as it is until it is set, and stands still from then on. Rolled back with the test's transaction.

    Defaults of columns keep the true time: they were bound to the server's own function when the tables were made.
    """

    def __init__(self) -> None:
        self.now = timezone.now()

    def set(self, moment: datetime) -> None:
        self.now = moment
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            cursor.execute(
                f"CREATE OR REPLACE FUNCTION {SCHEMA}.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS "
                f"$$ SELECT '{moment.isoformat()}'::timestamptz $$"
            )
            # Else the server's own functions come before all others.
            cursor.execute(f"SET LOCAL search_path = {SCHEMA}, pg_catalog, public")

    def advance(self, time: timedelta) -> None:
        self.set(self.now + time)
