"""Changes that no test can notice because they mean the same, each with the reason. By their words, not by line."""

EQUIVALENT: dict[tuple[str, str], str] = {}
