"""Tasks that django-q2 runs by its schedule. Their names are rows in the database, so they never change."""

import logging

logger = logging.getLogger(__name__)


def check_invariants() -> None:
    """Logs each broken invariant as an error, so that an alert can be set on it."""
    from creatorify.operations import invariants

    for finding in invariants.check():
        problem = "" if finding.not_checked else "is broken: "
        logger.error("Invariant %s %s%s", finding.invariant.name, problem, finding.text)
