"""One invariant: what it says, and the query that finds violations."""

from dataclasses import dataclass

TERMINAL_STATES = "('finished', 'failed', 'canceled')"
# Renders that `import_legacy` has brought over have no attempts, segments and usage.
NOT_IMPORTED = "NOT (r.attempt = 0 AND r.state IN ('finished', 'failed'))"


@dataclass(frozen=True)
class Invariant:
    """sql: returns one column, a row for each violation, as of one moment: so it is one statement even if it reads
    several tables. It may use the parameter `patience`, see `invariants.patience`.
    """

    name: str
    meaning: str
    sql: str
