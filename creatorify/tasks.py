"""What django-q2 runs by its schedule. The names are stored: they never change."""

import logging

logger = logging.getLogger(__name__)


def check_invariants() -> None:
    """A broken invariant is an error in the log, for whoever is to be woken by it."""
    from creatorify.operations import invariants

    for finding in invariants.check():
        problem = "" if finding.not_checked else "is broken: "
        logger.error("Invariant %s %s%s", finding.invariant.name, problem, finding.text)
