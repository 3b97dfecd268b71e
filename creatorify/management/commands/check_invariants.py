"""The invariants on the command line, for cron and for tests."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from creatorify.operations import invariants


class Command(BaseCommand):
    help = (
        "Check that nothing is lost, charged twice or stuck. Prints a line for each invariant that is broken or could "
        "not be checked, and then exits with 1."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        findings = invariants.check()
        for finding in findings:
            self.stdout.write(f"{finding.invariant.name}: {finding.invariant.meaning} {finding.text}")
        if findings:
            total = len(invariants.INVARIANTS)
            raise CommandError(
                f"{len(findings)} of {total} invariants are broken or could not be checked", returncode=1
            )
        self.stdout.write(f"{len(invariants.INVARIANTS)} invariants hold")
