from typing import Any

from django.core.management.base import BaseCommand, CommandError

from creatorify import invariants


class Command(BaseCommand):
    help = (
        "Check that nothing is lost, billed twice or stuck. Prints a line for each broken invariant, and exits with 1."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        findings = invariants.check()
        for finding in findings:
            self.stdout.write(f"{finding.invariant.name}: {finding.invariant.meaning} {' '.join(finding.violations)}")
        if findings:
            raise CommandError(f"{len(findings)} of {len(invariants.INVARIANTS)} invariants are broken", returncode=1)
        self.stdout.write(f"{len(invariants.INVARIANTS)} invariants hold")
