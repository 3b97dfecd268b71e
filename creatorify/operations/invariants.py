"""The check of all invariants: what must hold at every moment, as SQL that finds violations.

Nothing is lost, nothing is charged twice, nothing is stuck. `manage.py check_invariants`, a schedule of the queue and a
page of the admin run it.
"""

from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from creatorify.operations.billing_invariants import BILLING_INVARIANTS
from creatorify.operations.invariant import Invariant
from creatorify.operations.project_invariants import PROJECT_INVARIANTS
from creatorify.operations.render_invariants import RENDER_INVARIANTS

INVARIANTS = [*RENDER_INVARIANTS, *BILLING_INVARIANTS, *PROJECT_INVARIANTS]
SHOWN = 20  # violations of one invariant


@dataclass(frozen=True)
class Finding:
    """An invariant that is broken, or could not be checked."""

    invariant: Invariant
    violations: list[str]  # the first SHOWN
    not_checked: str = ""  # why it could not be checked

    @property
    def text(self) -> str:
        return f"could not be checked: {self.not_checked}" if self.not_checked else " ".join(self.violations)


def patience() -> float:
    """Seconds until a dead worker or a lost ticket must be noticed: a lease and two rounds of the reaper."""
    seconds: float = settings.RENDER_LEASE_SECONDS + 2 * settings.REAPER_INTERVAL_SECONDS
    return seconds


def check() -> list[Finding]:
    """Every invariant that is broken now, or could not be checked; an empty list if all hold.

    If one query fails, because it takes longer than a statement may, the others are still checked. Raises DatabaseError
    if the database is away.
    """
    findings = []
    for invariant in INVARIANTS:
        try:
            violations = _violations(invariant)
        except DatabaseError as error:
            if not connection.is_usable():
                raise
            findings.append(Finding(invariant, [], not_checked=str(error).strip()))
        else:
            if violations:
                findings.append(Finding(invariant, violations))
    return findings


def _violations(invariant: Invariant) -> list[str]:
    query = f"SELECT violation::text FROM ({invariant.sql}) AS violations(violation) LIMIT {SHOWN}"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(query, {"patience": patience()})
        return [text for (text,) in cursor.fetchall()]
